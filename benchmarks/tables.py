"""Rows of benchmarks as tables of Markdown."""


def table(rows, columns):
    """Markdown of rows; `columns` are pairs of a title, and of a field or a function of the row."""
    lines = [[title for title, _ in columns], ['---'] * len(columns)]
    lines += [[text(field(row) if callable(field) else row[field]) for _, field in columns]
              for row in rows]
    return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in lines)


def text(value):
    """A cell; None is empty."""
    return '' if value is None else f'{value:g}' if isinstance(value, float) else str(value)


def figure(value):
    """Three digits that count, and no exponent."""
    value = float(value)
    return f'{value:.3g}' if abs(value) < 100 else f'{value:.0f}'


def spread(name):
    """Of a row: a median with its lowest and highest."""
    return lambda row: '{} ({}–{})'.format(*(figure(row[key]) for key in (
        name, f'{name}_lowest', f'{name}_highest')))


def scaled(name, unit, form):
    """Of a row: a number over `unit`, in a format."""
    return lambda row: format(float(row[name]) / unit, form)
