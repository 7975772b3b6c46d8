"""Rows of a comparison as CSV and as Markdown, and the files they are kept in."""
import csv
import datetime
import io
import platform
import re
from pathlib import Path

from ..files import write_whole
from ..machine import installation, resources
from .networks import IMAGE, VIDEO
from .picture import as_png, by_kind

# title, one, unit, base
KINDS = (('Images', 'image', 'img/s', IMAGE[0]), ('Video', 'clip', 'clips/s', VIDEO[0]))


def write_report(rows, command, folder, load):
    """Write compare_zoo.csv, .md and .png into `folder`; [their paths]."""
    folder = Path(folder)
    csv_path, md_path, png_path = (folder / f'compare_zoo{ending}'
                                   for ending in ('.csv', '.md', '.png'))
    write_whole(csv_path, as_csv(rows).encode())
    write_whole(md_path, as_markdown(rows, machine(load), command).encode())
    write_whole(png_path, as_png(rows))
    return [csv_path, md_path, png_path]


SHOWN = ('network', 'input', 'parameters', 'FLOPs', 'latency, ms', 'throughput/s', 'training/s',
         'published '
         'top-1')


def shown(rows):
    """Lines for the terminal, the columns of `SHOWN`."""
    for row in rows:
        yield [row['network'], row['input'], row['parameters'], row['flops'],
               *(_figure(row[name]) for name in ('latency_ms', 'throughput', 'training')),
               _optional(row['published_top1'], 'g') or '–']


def as_csv(rows):
    """All columns; floats with five digits, which is more than they are good for."""
    text = io.StringIO(newline='')
    writer = csv.DictWriter(text, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows({
        name: f'{value:.5g}' if isinstance(value, float) else value for name, value in row.items()
    } for row in rows)
    return text.getvalue()


def machine(load):
    """{what: which} of this machine and its software; `load` is the share of it that was at
    something else."""
    return {
        'CPU': f'{_cpu_model()}, {resources.cores()} cores', 'Python': platform.python_version(), **{
            name: installation.installed(name) for name in (*installation.wheels(), 'gluoncv') if installation.installed(name)
        }, 'at something else': f'{load:.0%}', 'date': datetime.date.today().isoformat()
    }


def _cpu_model():
    with open('/proc/cpuinfo') as file:
        found = re.search(r'^model name\s*:\s*(.+)$', file.read(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def as_markdown(rows, machine, command):
    """A table of the image networks and one of the video networks, the published accuracies, and
    how it was done."""
    parts = [
        '# Our networks beside the GluonCV zoo', f'    {command}',
        '; '.join(f'{name}: {value}' for name, value in machine.items()) + '; '
        f'{rows[0]["threads"]} '
        'threads.'
    ]
    for (title, one, unit, base), kind in zip(KINDS, by_kind(rows)):
        if kind:
            parts += [f'## {title}', *_how(kind, one), _table(_measured(kind, unit, base))]
    parts += ['## Published accuracies', 'Per cent, as their sources print them; nothing here was '
                                         'measured by us, and each has its own training recipe. '
                                         'The paper quotes its ResNets and SENet from others, '
                                         'whose stem is not the one here. Empty: none is known to '
                                         'be published for this input.', _table(_published(rows))]
    if 'scored_top1' in rows[0]:
        parts += ['## Scored here', 'Per cent, of the files of weights named in the command or '
                                    'found in the cache of GluonCV, by our own '
                                    'scorer.', _table(_scored(rows))]
    return '\n\n'.join(parts) + '\n'


def _how(rows, one):
    batch, train_batch, rounds = (rows[0][name] for name in ('batch', 'train_batch', 'rounds'))
    many = f'{one}s' if batch > 1 else one
    yield (f'Medians (lowest–highest) over {rounds} round{"s" * (rounds > 1)}, in each of which '
           f'every network had its turn. Latency is of one {one}, throughput of {batch} {many} at '
           f'a time, training of steps of {train_batch} with Nesterov momentum; random inputs and '
           'weights, float32. Memory is the most that the process took, less what it had when its '
           'libraries were imported. FLOPs are multiply-adds of one input; parameters include '
           'running statistics.')
    if one == 'clip':
        yield ("The inputs are those that the published accuracies are of. In training, GluonCV's "
               'networks have the fence of `gluon_a2.nn.workarounds.FoldedBatchNorm` around their '
               'BatchNorms, without which MXNet cannot train them on a CPU.')


def _measured(rows, unit, base):
    yield [
        'network', 'of', 'input', 'parameters, M', 'FLOPs, G', 'latency, ms', f'{unit}, batch '
        f'{rows[0]["batch"]}', f'× {base}', f'training {unit}, batch {rows[0]["train_batch"]}',
        f'× {base}', 'memory, '
        'MB', 'memory in training, MB', 'file, MB'
    ]
    for row in rows:
        yield [row['network'], row['family'], row['input'], f'{row["parameters"] / 1e6:.2f}',
               f'{row["flops"] / 1e9:.4g}', _spread(row, 'latency_ms'), _spread(row, 'throughput'),
               _optional(row['throughput_ratio'], '.2f'), _spread(row, 'training'),
               _optional(row['training_ratio'], '.2f'), f'{row["peak_inference_bytes"] / 1e6:.0f}',
               f'{row["peak_training_bytes"] / 1e6:.0f}', f'{row["file_bytes"] / 1e6:.1f}']


def _published(rows):
    yield ['network', 'top-1', 'top-5', 'source']
    for row in rows:
        yield [
            row['network'],
            _optional(row['published_top1'], 'g'),
            _optional(row['published_top5'], 'g'), row['published_source'] or ''
        ]


def _scored(rows):
    yield ['network', 'top-1', 'top-5', 'images']
    for row in rows:
        if row['scored_images']:
            yield [
                row['network'], f'{row["scored_top1"]:.2f}', f'{row["scored_top5"]:.2f}',
                str(row['scored_images'])
            ]


def _spread(row, name):
    return '{} ({}–{})'.format(*(_figure(row[key])
                                 for key in (name, f'{name}_lowest', f'{name}_highest')))


def _figure(value):
    """Three digits that count, and no exponent."""
    return f'{value:.3g}' if abs(value) < 100 else f'{value:.0f}'


def _optional(value, form):
    return '' if value is None else format(value, form)


def _table(lines):
    header, *body = ('| ' + ' | '.join(cells) + ' |' for cells in lines)
    return '\n'.join([header, '|---' * (header.count('|') - 1) + '|', *body])
