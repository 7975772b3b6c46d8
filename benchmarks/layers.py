#!/usr/bin/env python3
"""Where the time of a forward pass goes, layer by layer, and what the machine would allow.

    python benchmarks/layers.py        # the A²-ResNet-50, 224², batch 8, one thread; needs PyTorch

oneDNN reports each primitive it runs in MXNet: convolutions, reorders between layouts, BatchNorms
and so on. What is left of a pass is MXNet's own: the block's products, by OpenBLAS, transposes
and what it costs to start operators. The roofline of a precision (Williams et al. 2009) is the
lower of two: the best of some matrix products, and the bandwidth of memory times the layer's
multiply-adds for each byte. Bytes are those of input, weights and output, once each. A layer that
stays in a cache can pass the slope. Keeps `layers.csv`, a row for each kind of layer of each form,
and draws `layers.png`.
"""
import importlib.util
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import ROOT, Child, at_least, keep, others, seconds, serve

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError

CHILD = ROOT / 'benchmarks' / 'peer_engines.py'
FORMS = {'float32': 'fp32', 'fused float32': 'fused', 'bfloat16': 'bf16', 'int8': 'int8'}
PRODUCTS = {'float32': ('product-numpy', 'product-mxnet', 'product-torch'),
            'bfloat16': ('product-bf16', ), 'int8': ('product-int8', )}
TYPES = {'f32': ('float32', 4), 'bf16': ('bfloat16', 2), 'u8': ('int8', 1), 's8': ('int8', 1)}
REST = 'products of the block, transposes, starts'
BATCH = 8
COPY = 2 ** 28  # bytes, more than any cache holds


# ---- the child: one form, whose oneDNN reports

def profile(folder, kind, passes):
    """Pass after pass; oneDNN, too, prints to standard output."""
    import peer_engines
    step = peer_engines.MXNet(Path(folder), kind).inference(BATCH)
    step()
    for _ in range(passes):
        print('pass', flush=True)
        print('took', 1e3 * seconds(step), flush=True)


def copying(_):
    """Seconds of copying `COPY` bytes, the best of some."""
    import numpy as np
    source = np.ones(COPY // 4, np.float32)
    target = np.empty_like(source)
    return min(seconds(np.copyto, target, source) for _ in range(5))


# ---- what oneDNN said

def primitives(lines):
    """[(kind, layer, precision, multiply-adds, bytes, milliseconds)] of one pass' lines."""
    found = []
    for line in lines:
        fields = line.split(',')
        if fields[0] != 'dnnl_verbose' or fields[1] != 'exec':
            continue
        kind, types, problem, took = fields[3], fields[6], fields[9], float(fields[10])
        if kind != 'convolution':
            found.append((kind.replace('_v2', '').replace('_', ' '), '', '', 0, 0, took))
            continue
        size = {name: int(number) for name, number in re.findall(r'([a-z]+)(\d+)', problem)}
        source, weights, target = (TYPES[re.search(rf'{part}_(\w+?):', types).group(1)]
                                   for part in ('src', 'wei', 'dst'))
        window, image = size['kh'] * size['kw'], size['mb']
        adds = image * size['oc'] * size['ic'] * window * size['oh'] * size['ow']
        moved = (image * size['ic'] * size['ih'] * size['iw'] * source[1]
                 + size['oc'] * size['ic'] * window * weights[1]
                 + image * size['oc'] * size['oh'] * size['ow'] * target[1])
        layer = f'{size["ic"]}→{size["oc"]}, {size["oh"]}×{size["ow"]}' + (
            f', stride {size["sh"]}' if size['sh'] > 1 else '')
        found.append((f'convolution {size["kh"]}×{size["kw"]}', layer, source[0], adds, moved,
                      took))
    return found


def passes_of(text):
    """[(milliseconds of the pass, its primitives)] of a child's output."""
    found = []
    for part in text.split('pass\n')[1:]:
        lines = part.splitlines()
        took = next(float(line.split()[1]) for line in lines if line.startswith('took'))
        found.append((took, primitives(lines)))
    return found


def rows_of(form, passes, peaks, bandwidth):
    """Rows of a form: its layers, equal ones together, by the medians over the passes."""
    layers, rest = {}, []
    for took, found in passes:
        rest.append(took - sum(one[-1] for one in found))
        sums = {}
        for *key, milliseconds in found:
            calls, total = sums.get(tuple(key), (0, 0))
            sums[tuple(key)] = calls + 1, total + milliseconds
        for key, value in sums.items():
            layers.setdefault(key, []).append(value)
    for (kind, layer, precision, adds, moved), values in layers.items():
        calls, took = values[0][0], statistics.median(total for _, total in values)
        row = {'form': form, 'kind': kind, 'layer': layer, 'calls': calls, 'ms': round(took, 3),
               'flop_per_byte': '', 'gflop_per_s': '', 'roofline': '', 'share_of_roofline': ''}
        if adds:
            intensity, speed = 2 * adds / moved, 2 * adds * calls / took / 1e6
            roof = min(peaks[precision], bandwidth * intensity)
            row.update(flop_per_byte=round(intensity, 1), gflop_per_s=round(speed, 1),
                       roofline=round(roof, 1), share_of_roofline=round(speed / roof, 3))
        yield row
    yield {**dict.fromkeys(row, ''), 'form': form, 'kind': REST,
           'ms': round(statistics.median(rest), 3)}


# ---- the picture

def draw(rows, peaks, bandwidth, png):
    """Milliseconds by kind, and each kind of convolution under the rooflines."""
    from gluon_a2.visualization.figure import as_png, new_figure
    figure = new_figure(14, 5)
    bars, roofs = figure.subplots(1, 2)
    ends = [0.0] * len(FORMS)
    for number, kind in enumerate(dict.fromkeys(row['kind'] for row in rows)):
        took = [sum(row['ms'] for row in rows if (row['form'], row['kind']) == (form, kind))
                for form in FORMS]
        bars.barh(list(FORMS), took, left=ends, label=kind, color=f'C{number % 10}',
                  hatch='//' if number > 9 else None)
        ends = [end + more for end, more in zip(ends, took)]
    bars.invert_yaxis()
    bars.set(xlabel='ms of a pass of 8 images', title='where the time goes')
    bars.legend(fontsize=8, loc='lower right')
    for number, (precision, peak) in enumerate(peaks.items()):
        ridge = peak / bandwidth
        roofs.plot([ridge / 30, ridge, 2000], [peak / 30, peak, peak], color=f'C{number}',
                   label=f'{precision}: {peak:.0f} GFLOP/s at most')
        for form in FORMS:
            if precision in form and 'fused' not in form:
                points = [row for row in rows if row['form'] == form and row['gflop_per_s']]
                roofs.scatter([row['flop_per_byte'] for row in points],
                              [row['gflop_per_s'] for row in points],
                              [4 + row['ms'] for row in points], color=f'C{number}', alpha=0.6)
    roofs.set(xscale='log', yscale='log', xlabel='FLOP for each byte', ylabel='GFLOP/s',
              title=f'convolutions, larger by time; memory {bandwidth:.0f} GB/s')
    roofs.legend(fontsize=8, loc='lower right')
    png.write_bytes(as_png(figure))


@entry
def main(argv=None):
    """Measure the roofs, profile each form, print, keep, draw."""
    flags = parser(__doc__)
    flags.add_argument('--passes', type=at_least(1), default=9)
    flags.add_argument('--size', type=at_least(32), default=224, help='side of the images')
    flags.add_argument('--out', type=Path, default=Path(__file__).parent, metavar='DIR',
                       help='where the two files go')
    args = flags.parse_args(argv)
    if importlib.util.find_spec('torch') is None:
        raise UserError('PyTorch, which measures the peaks, is not installed: run make bench')
    taken = others()
    os.environ.update(dict.fromkeys(('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'),
                                    '1'))
    rows, peaks = [], {}
    with tempfile.TemporaryDirectory() as folder:
        with Child('prepare', CHILD, 'prepare', folder) as process:
            process.ask(args.size)
        for precision, kinds in PRODUCTS.items():
            times = []
            for kind in kinds:
                with Child(kind, CHILD, kind, folder, OPENBLAS_CORETYPE=None) as process:
                    times.extend(process.ask('product 2048') for _ in range(9))
            peaks[precision] = 2 * 2048 ** 3 / min(times) / 1e9
        with Child('copy', __file__, 'copy') as process:
            bandwidth = 2 * COPY / process.ask() / 1e9  # read and written
        for form, kind in FORMS.items():
            rows.extend(rows_of(form, passes_of(report(folder, kind, args.passes)), peaks,
                                bandwidth))
    keep(rows, args.out / 'layers.csv', show=False)
    draw(rows, peaks, bandwidth, args.out / 'layers.png')
    for form in FORMS:
        own = [row for row in rows if row['form'] == form]
        total = sum(row['ms'] for row in own)
        parts = {kind: sum(row['ms'] for row in own if row['kind'] == kind)
                 for kind in dict.fromkeys(row['kind'] for row in own)}
        print(f'{form}: {total:.0f} ms: ' + ', '.join(
            f'{kind} {took:.0f}' for kind, took in sorted(parts.items(), key=lambda x: -x[1])))
    print(f'peaks {", ".join(f"{name} {peak:.0f}" for name, peak in peaks.items())} GFLOP/s, '
          f'memory {bandwidth:.1f} GB/s; others took {taken:.0%} of the cores when it began')


def report(folder, kind, passes):
    """What a child prints of one form."""
    done = subprocess.run(
        [sys.executable, __file__, 'profile', str(folder), kind, str(passes)], check=True,
        stdout=subprocess.PIPE, text=True, env={**os.environ, 'DNNL_VERBOSE': '1'})
    return done.stdout


if __name__ == '__main__':
    if sys.argv[1:2] == ['profile']:
        profile(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    elif sys.argv[1:2] == ['copy']:
        serve(lambda: copying)
    else:
        main()
