"""The comparison as a picture: accuracy as published against speed as measured; a bubble is as
large as its network."""
import math

from compare_networks import GLUONCV, OURS

from gluon_a2.visualization import figure as drawing

COLOURS = {OURS: '#c8452c', GLUONCV: '#3a6ea5'}
_AREA = 9  # square points of the square around a bubble, for each million parameters
_DPI = 110
_PANELS = ('Images', 'img/s'), ('Video', 'clips/s')


def by_kind(rows):
    """[image rows, video rows]."""
    return [[row for row in rows if bool(row['frames']) == video] for video in (False, True)]


def as_png(rows):
    """Published top-1 against measured speed, images left and video right; the bytes of a PNG."""
    kinds = [(*titles, kind) for titles, kind in zip(_PANELS, by_kind(rows)) if kind]
    figure = drawing.new_figure(7 * len(kinds), 7.2)
    figure.set_dpi(_DPI)
    lines = 4 - len(kinds)  # of the legend
    head, body = figure.subfigures(2, 1, height_ratios=(lines, 18))
    _legend(head, lines)
    panels = body.subfigures(1, len(kinds), squeeze=False)[0]
    drawn = [part for panel, kind in zip(panels, kinds) for part in _draw_panel(panel, *kind)]
    # lays it out, so that labels can be placed by what they would cover
    figure.draw_without_rendering()
    for axes, kind in drawn:
        _label(figure, axes, kind)
    return drawing.as_png(figure, _DPI)


def _draw_panel(panel, title, unit, rows):
    """[(axes, rows in them)]: those with a published accuracy above, and the others in a strip
    below."""
    known = [row for row in rows if row['published_top1'] is not None]
    unknown = sorted((row for row in rows if row['published_top1'] is None),
                     key=lambda row: row['throughput'])
    parts = [(draw, kind, size) for draw, kind, size in (
        (_draw_known, known, 9), (_draw_unknown, unknown, 0.9 + 0.7 * len(unknown))) if kind]
    columns = panel.subplots(len(parts), 1, sharex=True, squeeze=False,
                             gridspec_kw={'height_ratios': [size for _, _, size in parts]})[:, 0]
    for axes, (draw, kind, _) in zip(columns, parts):
        draw(axes, kind)
    columns[0].set_title(title, loc='left', fontweight='bold')
    _ticks(columns[-1])
    columns[-1].set_xlabel(f'{unit} measured here, batch {rows[0]["batch"]} (faster →)')
    return [(axes, kind) for axes, (_, kind, _) in zip(columns, parts)]


def _draw_known(axes, rows):
    _scatter(axes, rows, [row['published_top1'] for row in rows])
    axes.set_ylabel('top-1 as published, % (not measured here)')
    axes.margins(0.16, 0.12)


def _draw_unknown(axes, rows):
    _scatter(axes, rows, range(len(rows)))
    axes.set(yticks=[], ylim=(-0.8, len(rows) - 0.2), ylabel='not\npublished', facecolor='#f5f5f2')


def _scatter(axes, rows, heights):
    axes.set_xscale('log')
    colours = [COLOURS[row['family']] for row in rows]
    quoted = [', quoting ' in (row['published_source'] or '') for row in rows]  # for another stem
    axes.scatter([row['throughput'] for row in rows], list(heights), alpha=0.72, zorder=3,
                 s=[_AREA * row['parameters'] / 1e6 for row in rows],
                 c=['white' if hollow else colour for colour, hollow in zip(colours, quoted)],
                 edgecolors=[colour if hollow else 'white'
                             for colour, hollow in zip(colours, quoted)],
                 linewidths=[2 if hollow else 0.8 for hollow in quoted])
    axes.grid(alpha=0.25, which='both')
    axes.spines[['top', 'right']].set_visible(False)


def _ticks(axes):
    """1, 2 and 5 of every decade in sight, written out; more where those are too few."""
    low, high = axes.get_xlim()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), range(1, 10), [n / 5 for n in range(5, 50)]):
        ticks = (n * 10.0**decade for decade in decades for n in digits)
        at = [tick for tick in ticks if low <= tick <= high]
        if len(at) > 3:
            break
    axes.set_xticks(at, [f'{value:g}' for value in at])
    axes.minorticks_off()


def _legend(panel, lines):
    """Which colour is whose, and how large a bubble is."""
    from matplotlib.lines import Line2D

    def dot(colour, parameters, label, **more):
        return Line2D([], [], linestyle='', marker='o', color=colour, label=label,
                      markersize=math.sqrt(_AREA * parameters),
                      **{'alpha': 0.72, 'markeredgecolor': 'white', **more})
    dots = [dot(COLOURS[OURS], 20, f"{OURS} (accuracies: the paper's)"),
            dot(COLOURS[GLUONCV], 20, f"{GLUONCV} (accuracies: its model zoo's)"),
            dot(COLOURS[OURS], 20, 'quoted by the paper, for another stem', alpha=1,
                markerfacecolor='white', markeredgecolor=COLOURS[OURS], markeredgewidth=2),
            *(dot('#999999', size, f'{size} M parameters') for size in (5, 25, 60))]
    panel.legend(handles=dots, loc='center', ncol=math.ceil(len(dots) / lines), frameon=False,
                 handletextpad=0.6, labelspacing=0.9)


def _label(figure, axes, rows):
    """Name every bubble, with a line to its label where that is not beside it."""
    from matplotlib.lines import Line2D
    dots, renderer = axes.collections[0], figure.canvas.get_renderer()
    centres = axes.transData.transform(dots.get_offsets())  # pixels
    radii = [math.sqrt(size) / 2 * figure.dpi / 72 for size in dots.get_sizes()]
    notes = [axes.text(0, 0, row['network'] + (f'  {row["input"]}' if row['frames'] else ''),
                       fontsize=8.5, zorder=4, color=COLOURS[row['family']], transform=None,
                       in_layout=False,
                       fontweight='bold' if row['network'].startswith('a2_') else None)
             for row in rows]
    boxes = [note.get_window_extent(renderer) for note in notes]
    bubbles = [(x, y, radius) for (x, y), radius in zip(centres, radii)]
    found = arrange(bubbles, [(box.width, box.height) for box in boxes], axes.bbox.extents)
    for note, own, (x, y, _), ((left, bottom, right, top), distance) in zip(
            notes, boxes, bubbles, found):
        note.set_position((left - own.x0, bottom - own.y0))
        if distance > DISTANCES[0]:
            ends = [(x, min(max(x, left), right)), (y, min(max(y, bottom), top))]
            line = Line2D(*ends, color='#999999', linewidth=0.7, transform=None, zorder=2,
                          in_layout=False)
            axes.add_artist(line)  # `plot` would scale the axes anew, and leave the labels behind


# ---- where labels go, so that none covers another: plain geometry, in pixels

# Of a label, seen from its bubble: direction, and which point of it is nearest (0 left or bottom, 1
# right or top).
SIDES = ((1, 0, 0, .5), (-1, 0, 1, .5), (0, 1, .5, 0), (0, -1, .5, 1),
         (.7, .7, 0, 0), (.7, -.7, 0, 1), (-.7, .7, 1, 0), (-.7, -.7, 1, 1))
DISTANCES = (4, 18, 36, 60, 90)  # from the bubble's edge


def arrange(bubbles, sizes, frame):
    """The box (left, bottom, right, top) of each label, and its distance from its bubble.

    `bubbles` are (x, y, radius), `sizes` the (width, height) of their labels, `frame` the box to
    stay in. One after the other takes the nearest position that covers nothing, or else the one
    that covers least.
    """
    taken, found = [(x - r, y - r, x + r, y + r) for x, y, r in bubbles], []
    for (x, y, radius), (width, height) in zip(bubbles, sizes):
        choices = []
        for distance in DISTANCES:
            for across, up, anchor_x, anchor_y in SIDES:
                left = x + across * (radius + distance) - anchor_x * width
                bottom = y + up * (radius + distance) - anchor_y * height
                box = left, bottom, left + width, bottom + height
                covered = (sum(overlap(box, other) for other in taken)
                           + width * height - overlap(box, frame))
                choices.append((round(covered, 3), distance, len(choices), box))
        _, distance, _, box = min(choices)
        taken.append(box)
        found.append((box, distance))
    return found


def overlap(a, b):
    """The area that two boxes share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
