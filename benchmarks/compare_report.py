"""The rows of `compare_zoo.py` as CSV, as Markdown and as a picture, and the files they are kept
in."""
import datetime
import platform
from pathlib import Path

from bench import keep, processor, read_rows
from compare_networks import IMAGE, VIDEO
from compare_picture import as_png, by_kind
from compare_published import AUTHORS, GLORE
from tables import figure, scaled, spread, table, text

from gluon_a2.files import write_whole
from gluon_a2.machine import installation, resources

# title, one, unit, base
KINDS = (('Images', 'image', 'img/s', IMAGE[0]), ('Video', 'clip', 'clips/s', VIDEO[0]))
PUBLISHED = '''## Published accuracies

Per cent, as their sources print them. Nothing here was measured by us, and each network has its own
training recipe. The paper quotes its ResNets and SENet from others, whose stem is not the one here.
Its authors name {resnet50} of ResNet-50 and {se_resnet50} of SE-ResNet-50, both pre-activation,
in a later code ({source}).
An empty cell means that no accuracy is known to be published for this input.'''.format(
    source=GLORE, **{name: row.top1 for name, row in AUTHORS.items()})


def write_report(rows, command, folder, load):
    """Write compare_zoo.csv, .md and .png into `folder`; [their paths]."""
    csv, md, png = (Path(folder) / f'compare_zoo{ending}' for ending in ('.csv', '.md', '.png'))
    csv.parent.mkdir(parents=True, exist_ok=True)
    # floats with five digits, which is more than they are good for
    keep([{name: f'{value:.5g}' if isinstance(value, float) else value
           for name, value in row.items()} for row in rows], csv, show=False)
    write_whole(md, as_markdown(read(csv), machine(load), command).encode())
    write_whole(png, as_png(rows))
    return [csv, md, png]


def read(csv):
    """The rows of a CSV file with numbers as numbers, and None where a cell is empty."""
    return [{name: _value(cell) for name, cell in row.items()} for row in read_rows(csv)]


def _value(cell):
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell or None


def shown(rows):
    """Lines for the terminal, the first a header."""
    yield ('network', 'input', 'parameters', 'FLOPs', 'latency, ms', 'throughput/s', 'training/s',
           'published top-1')
    for row in rows:
        yield (row['network'], row['input'], row['parameters'], row['flops'],
               *(figure(row[name]) for name in ('latency_ms', 'throughput', 'training')),
               text(row['published_top1']) or '–')


def machine(load):
    """{what: which} of this machine and its software; `load` is the share of it that was at
    something else."""
    versions = {name: installation.installed(name) for name in (*installation.wheels(), 'gluoncv')}
    return {'CPU': f'{processor()}, {resources.cores()} cores',
            'Python': platform.python_version(),
            **{name: version for name, version in versions.items() if version},
            'at something else': f'{load:.0%}', 'date': datetime.date.today().isoformat()}


def as_markdown(rows, machine, command):
    """How it was done, then the tables."""
    facts = '; '.join(f'{name}: {value}' for name, value in machine.items())
    return '\n\n'.join(['# Our networks beside the GluonCV zoo', f'    {command}',
                        f'{facts}; {rows[0]["threads"]} threads. No test runs this command, '
                        'because it takes hours.', tables(rows)]) + '\n'


def tables(rows):
    """A table of the image networks and one of the video networks, and the published accuracies."""
    parts = []
    for (title, one, unit, base), kind in zip(KINDS, by_kind(rows)):
        if kind:
            parts += [f'## {title}', _how(kind[0], one), _measured(kind, unit, base)]
    return '\n\n'.join([*parts, PUBLISHED, table(rows, [
        ('network', 'network'), ('top-1', 'published_top1'), ('top-5', 'published_top5'),
        ('source', 'published_source')])])


def _how(row, one):
    many = f'{one}s' if row['batch'] > 1 else one
    said = (f'Medians (lowest–highest) over {row["rounds"]} round{"s" * (row["rounds"] > 1)}, in '
            f'each of which every network had its turn. Latency is of one {one}, throughput of '
            f'{row["batch"]} {many} at a time, training of steps of {row["train_batch"]} with '
            'Nesterov momentum; random inputs and weights, float32. Memory is the most that the '
            'process took, less what it had when its libraries were imported. FLOPs are '
            'multiply-adds of one input; parameters include running statistics.')
    if one == 'clip':
        said += ("\n\nThe inputs are those that the published accuracies are of. In training, the "
                 "BatchNorms of GluonCV's networks are ours (`FoldedBatchNorm`), because MXNet "
                 'cannot train its own on a CPU beside a Conv3D.')
    return said


def _measured(rows, unit, base):
    """Speed, then size: two tables, because one would be wider than a page."""
    row = rows[0]
    return '\n\n'.join([table(rows, [
        ('network', 'network'), ('latency, ms', spread('latency_ms')),
        (f'{unit}, batch {row["batch"]}', spread('throughput')),
        (f'× {base}', _ratio('throughput')),
        (f'training {unit}, batch {row["train_batch"]}', spread('training')),
        (f'× {base}', _ratio('training'))]), table(rows, [
            ('network', 'network'), ('of', 'family'), ('input', 'input'),
            ('parameters, M', scaled('parameters', 1e6, '.2f')),
            ('FLOPs, G', scaled('flops', 1e9, '.4g')),
            ('memory, MB', scaled('peak_inference_bytes', 1e6, '.0f')),
            ('memory in training, MB', scaled('peak_training_bytes', 1e6, '.0f')),
            ('file, MB', scaled('file_bytes', 1e6, '.1f'))])])


def _ratio(name):
    return lambda row: ('' if row[f'{name}_ratio'] is None else f'{row[f"{name}_ratio"]:.2f}')
