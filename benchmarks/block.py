#!/usr/bin/env python3
"""The attention blocks alone: time and memory over the size of the input, beside what Section 2.3
predicts.

    python benchmarks/block.py
    python benchmarks/block.py --gate    # only the last layer of squeeze-and-excitation, both ways

A² by Eq. 6 (left), Eq. 7 (right) and the cheaper of the two (auto), non-local, and
squeeze-and-excitation as it is exported; m = n = c/2, the ratio of the paper's ResNet-50s, and
non-local's width is c/2 too. Inputs are random, from 7×7 to 32×28×28; those with a third axis go
through the layers for video. Small inputs come in batches, so that calls weigh little, and every
figure is for one input. A point is left out where twice all its maps exceed the memory that is
free, or where a step would take longer than --limit: its predictions stay.

Time: the blocks take turns, round by round; forward is inference, a step is forward and backward in
training, down to the input; medians, lowest and highest. Predicted are the multiply-adds counted,
over one rate for forward and one for steps: the median rate of the A² points that have at least a
tenth of the largest's multiply-adds.

Memory: the highest resident size (VmHWM, set back before each measurement) above what the process
held before it had the block and its input, in a process of its own, whose allocator gives back what
is freed; the lower of two, and good to a few MB a batch. Predicted are every map once that is not
written over another's memory, the weights and their gradients, and the gradients of the input, the
output and the largest map; the picture also has Section 2.3's first product alone.

The crossover of Eq. 6 and Eq. 7 is predicted at (dhw)² = mn, and measured where the two take equal
time, or memory, between sizes by straight lines in logarithms; all are given where noise makes
several. Keeps `block.csv`, `block_crossover.csv` and `block.png`.

With --gate: forward and backward of x · gate as squeeze-and-excitation does it in training, and by
`broadcast_mul`, in turn. Keeps `block_gate.csv`.
"""
import functools
import gc
import itertools
import json
import math
import statistics
import sys
from pathlib import Path
from typing import NamedTuple, Tuple

from bench import Child, at_least, in_turn, keep, memory, seconds, serve
from tqdm import tqdm

from gluon_a2.cli import entry, parser

HERE = Path(__file__).parent
BLOCKS = ('A² left', 'A² right', 'A² auto', 'NL', 'SE')
COLOURS = dict(zip(BLOCKS, ('tab:blue', 'tab:red', 'black', 'tab:green', 'tab:gray')))
SIZES = ((7, 7), (10, 10), (14, 14), (20, 20), (28, 28), (4, 28, 28), (8, 28, 28), (16, 28, 28),
         (32, 28, 28))
CHANNELS = (128, 256, 512, 1024)
WAYS = ('forward', 'step')
# what SE-ResNets scale: conv2 of digits, conv3 and conv5 at 224×224, conv3 of video
GATES = ((32, 128, 16, 16), (8, 512, 28, 28), (8, 2048, 7, 7), (2, 512, 4, 28, 28))
IN_PLACE = ('Activation', 'Reshape', 'reshape_like')  # they write where they read
COMPARED = ('forward_ms', 'step_ms', 'step_mb')
ALIKE = 3136  # positions of a batch: inputs smaller than this come several at once


class Point(NamedTuple):
    """A block of c channels, m = n = c/2, on inputs of `size`."""
    block: str
    channels: int
    size: Tuple[int, ...]

    @property
    def positions(self):
        """dhw."""
        return math.prod(self.size)

    @property
    def batch(self):
        """Inputs of a measurement."""
        return max(1, ALIKE // self.positions)

    @property
    def shape(self):
        """Of the input: N×c×(d×)h×w."""
        return (self.batch, self.channels, *self.size)


# ---- what is measured

def build(point):
    """The block of a point, not yet initialized."""
    from gluon_a2.nn import DoubleAttention, NonLocal, SqueezeExcite
    inner, dims = point.channels // 2, len(point.size)
    if point.block == 'NL':
        return NonLocal(point.channels, inner, dims=dims)
    if point.block == 'SE':
        return SqueezeExcite(point.channels, dims=dims)
    return DoubleAttention(point.channels, inner, inner, association=point.block.split()[1],
                           input_size=point.size, dims=dims)


def actions(point):
    """{'forward': …, 'step': …}: functions that compute, and return when all is done."""
    from gluon_a2.backend import mx
    net, x = build(point), mx.nd.random.normal(shape=point.shape)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    x.attach_grad()

    def forward():
        net(x).wait_to_read()

    def step():
        with mx.autograd.record():
            y = net(x)
        y.backward()
        mx.nd.waitall()
    return {'forward': forward, 'step': step}


def timed(points, rounds):
    """{point: {'forward': [seconds], 'step': [seconds]}} of one input, of points that take turns,
    after a first round."""
    def turn(point, act, _):
        return seconds(act) / point.batch
    ready = {point: actions(point) for point in points}
    taken = in_turn({(*point, way): functools.partial(turn, point, ready[point][way])
                     for point, way in itertools.product(points, WAYS)}, rounds, warm=1)
    return {point: {way: taken[(*point, way)] for way in WAYS} for point in points}


def peaks(point):
    """{'forward': bytes, 'step': bytes} that the block and its input take at most, all inputs of
    the batch together."""
    from gluon_a2.backend import mx
    gc.collect()
    mx.nd.waitall()
    base, found = memory('VmRSS'), {}
    ready = actions(point)
    mx.nd.waitall()
    for way in WAYS:
        Path('/proc/self/clear_refs').write_text('5')  # sets VmHWM back to VmRSS
        ready[way]()
        found[way] = memory('VmHWM') - base
    return found


def weighing():
    """In a process of its own: a function of a point, its peaks, the lower of two measurements."""
    def answer(point):
        block, channels, size = point
        found = [peaks(Point(block, channels, tuple(size))) for _ in range(2)]
        return {way: min(peak[way] for peak in found) for way in WAYS}
    return answer


def scale():
    """The process that weighs; glibc there returns what is freed, at once."""
    return Child('the weighing', __file__, '--child', MALLOC_MMAP_THRESHOLD_='65536')


# ---- what is predicted

def counted(point):
    """Of one input: multiply-adds, MB of its maps, of the gradients that a step holds at once, and
    of the weights."""
    from gluon_a2.backend import mx
    from gluon_a2.cost import count
    symbol = build(point)(mx.sym.var('data'))
    shape = (1, *point.shape[1:])
    inner = symbol.get_internals()
    written = {f'{node["name"]}_output' for node in json.loads(symbol.tojson())['nodes']
               if node['op'] not in ('null', *IN_PLACE)}
    maps = [math.prod(size) for name, size in zip(inner.list_outputs(),
                                                  inner.infer_shape(data=shape)[1])
            if name == 'data' or name in written]
    cost = count(symbol, data=shape)
    return {'multiply_adds': cost.flops, 'maps_mb': sum(maps) / 2 ** 18,
            'gradients_mb': (2 * math.prod(shape) + max(maps)) / 2 ** 18,
            'weights_mb': cost.trained / 2 ** 18}


def first_product(point):
    """MB of the first product of one input (Section 2.3); squeeze-and-excitation has none."""
    from gluon_a2.nn import product_memory
    association = 'right' if point.block == 'NL' else point.block.split()[1]
    return product_memory(point.channels // 2, point.channels // 2, point.positions, association)


def fit_rate(points, taken):
    """Multiply-adds per second, the median over the A² points of at least a tenth of the largest's
    multiply-adds.

    `points` {point: counted}, `taken` {point: seconds} of one input.
    """
    a2 = [point for point in taken if point.block.startswith('A²')]
    work = {point: points[point]['multiply_adds'] * point.batch for point in a2}
    large = [point for point in a2 if work[point] >= max(work.values()) / 10]
    return statistics.median(points[point]['multiply_adds'] / taken[point] for point in large)


def rough_rate():
    """Multiply-adds per second of a plain product of two matrices, for planning."""
    from gluon_a2.backend import mx
    a = mx.nd.random.normal(shape=(1024, 1024))
    return 1024 ** 3 / min(seconds(lambda: mx.nd.dot(a, a).wait_to_read()) for _ in range(4))


def hindrance(point, known, rate, limit, free):
    """Why a point is left out, or None: `free` bytes of memory, `limit` seconds of a step at
    `rate`."""
    needed = 2 * point.batch * known['maps_mb'] * 2 ** 20 + 3 * known['weights_mb'] * 2 ** 20
    if needed > free:
        return f'needs up to {needed / 1e9:.1f} GB, {free / 1e9:.1f} are free'
    taken = step_seconds(point, known, rate)
    return f'a step of about {taken:.0f} s' if taken > limit else None


def step_seconds(point, known, rate):
    """Of forward and backward, which multiply three times as much as forward."""
    return 3 * known['multiply_adds'] * point.batch / rate


def crossings(positions, left, right):
    """Every number of positions where `left` becomes cheaper than `right` or dearer; straight lines
    in logarithms."""
    found = []
    gaps = [math.log(a / b) for a, b in zip(left, right)]
    for (p, gap), (q, after) in zip(zip(positions, gaps), list(zip(positions, gaps))[1:]):
        if (gap > 0) != (after > 0):
            found.append(math.exp(math.log(p) + math.log(q / p) * gap / (gap - after)))
    return found


# ---- all of them

def measure(points, args):
    """({point: seconds by way}, {point: MB by way}, {point: why it is left out}) of {point:
    counted}."""
    from gluon_a2.machine.resources import free_memory
    rate, times, weights, left_out = rough_rate(), {}, {}, {}
    groups = [list(group) for _, group in itertools.groupby(points, key=lambda point: point[1:])]
    with scale() as process:
        for group in tqdm(groups, unit='size', disable=None):
            reasons = {point: hindrance(point, points[point], rate, args.limit, free_memory())
                       for point in group}
            left_out.update({point: reason for point, reason in reasons.items() if reason})
            group = [point for point in group if not reasons[point]]
            weights.update({point: {way: peak / point.batch / 2 ** 20
                                    for way, peak in process.ask(point).items()}
                            for point in group})
            a_round = sum(step_seconds(point, points[point], rate) for point in group)
            rounds = max(3, min(args.rounds, int(args.seconds / max(a_round, 1e-9))))
            times.update(timed(group, rounds))
    return times, weights, left_out


def rows(points, times, weights, left_out):
    """A row of the CSV for each point."""
    rates = {way: fit_rate(points, {point: statistics.median(taken[way])
                                    for point, taken in times.items()}) for way in WAYS}
    for point, known in points.items():
        row = {'block': point.block, 'channels': point.channels, 'm': point.channels // 2,
               'size': '×'.join(map(str, point.size)), 'positions': point.positions,
               'batch': point.batch, 'status': left_out.get(point, 'measured'),
               'multiply_adds': known['multiply_adds']}
        for way in WAYS:
            taken = [1000 * value for value in times.get(point, {way: []})[way]]
            for name, function in (('ms', statistics.median), ('lowest', min), ('highest', max)):
                row[f'{way}_{name}'] = round(function(taken), 4) if taken else None
            row[f'{way}_predicted'] = round(1000 * known['multiply_adds'] / rates[way], 4)
        row['rounds'] = len(taken)
        for way in WAYS:
            row[f'{way}_mb'] = round(weights[point][way], 4) if point in weights else None
        row['first_product_mb'] = None if point.block == 'SE' else round(first_product(point), 4)
        row['predicted_mb'] = round(
            known['maps_mb'] + known['gradients_mb'] + 2 * known['weights_mb'] / point.batch, 4)
        yield row


def crossover_rows(table):
    """For each c, where the two associations of A² take the same time (forward, a step) or memory
    (a step)."""
    for channels, column in itertools.product(dict.fromkeys(row['channels'] for row in table),
                                              COMPARED):
        left, right = ({row['positions']: row[column] for row in table
                        if (row['status'], row['channels'], row['block'])
                        == ('measured', channels, block)} for block in BLOCKS[:2])
        both = sorted(set(left) & set(right))
        found = crossings(both, [left[p] for p in both], [right[p] for p in both])
        yield {'channels': channels, 'm': channels // 2, 'of': column,
               'predicted_positions': channels // 2,
               'measured_positions': ' '.join(f'{p:.0f}' for p in found),
               'left_over_right': ' '.join(f'{p}:{left[p] / right[p]:.3f}' for p in both)}


def draw(table, png):
    """Measured points over predicted curves: a column for each c; forward, a step, and the memory
    of a step."""
    from gluon_a2.visualization.figure import as_png, new_figure
    channels = list(dict.fromkeys(row['channels'] for row in table))
    figure = new_figure(1 + 4 * len(channels), 11)
    panels = figure.subplots(3, len(channels), sharex=True, sharey='row', squeeze=False)
    for axes, c in zip(panels.T, channels):
        mine = [row for row in table if row['channels'] == c]
        for panel, key, predicted in zip(axes, COMPARED,
                                         ('forward_predicted', 'step_predicted', 'predicted_mb')):
            for block in BLOCKS:
                _curve(panel, [row for row in mine if row['block'] == block], block, key, predicted)
            panel.axvline(c // 2, color='tab:purple', linestyle=':', linewidth=1.5)
            panel.set(xscale='log', yscale='log')
            panel.grid(alpha=0.3)
        for block in BLOCKS[:2]:
            own = [row for row in mine if row['block'] == block]
            axes[2].plot([row['positions'] for row in own],
                         [row['first_product_mb'] for row in own], color=COLOURS[block],
                         linestyle=':', linewidth=1.2)
        axes[0].set_title(f'c = {c}, m = n = {c // 2}')
        axes[2].set_xlabel('positions dhw')
    for panel, label in zip(panels[:, 0], ('forward, ms', 'forward and backward, ms',
                                           'memory of a step, MB')):
        panel.set_ylabel(f'{label} per input')
    styles = [({'color': COLOURS[block], 'marker': _marker(block), 'linestyle': 'none'}, block)
              for block in BLOCKS]
    styles += [({'color': 'black', 'linestyle': '--'}, 'predicted'),
               ({'color': 'black', 'linestyle': 'none', 'marker': 'x'},
                'left out, predicted only'),
               ({'color': 'tab:red', 'linestyle': ':'}, 'first product alone (Section 2.3)'),
               ({'color': 'tab:purple', 'linestyle': ':'}, '(dhw)² = mn')]
    figure.legend([panels[0, 0].plot([], [], **style)[0] for style, _ in styles],
                  [label for _, label in styles], loc='outside lower center', ncols=5)
    png.write_bytes(as_png(figure, 90))


def _marker(block):
    return '.' if block == 'A² auto' else 'o'


def _curve(panel, own, block, key, predicted):
    """One block in one panel; no predicted time for squeeze-and-excitation, which hardly
    multiplies."""
    if block != 'A² auto' and (block != 'SE' or key.endswith('mb')):
        panel.plot([row['positions'] for row in own], [row[predicted] for row in own],
                   color=COLOURS[block], linestyle='--', linewidth=1)
        out = [row for row in own if row['status'] != 'measured']
        panel.plot([row['positions'] for row in out], [row[predicted] for row in out],
                   color=COLOURS[block], marker='x', linestyle='none')
    done = [row for row in own if row['status'] == 'measured']
    panel.plot([row['positions'] for row in done], [row[key] for row in done], color=COLOURS[block],
               marker=_marker(block), markersize=4, linestyle='none')


# ---- the gate

def gate_step(shape, training):
    """A function that scales an input by a gate, forward and backward."""
    from gluon_a2.backend import mx
    from gluon_a2.nn.squeeze_excite import scaled

    class Scale(mx.gluon.nn.HybridBlock):
        def hybrid_forward(self, F, x, gate):
            return scaled(F, x, gate, training)

    net, arrays = Scale(), [mx.nd.random.normal(shape=size) for size in (
        shape, shape[:2] + (1,) * (len(shape) - 2))]
    net.hybridize(static_alloc=True, static_shape=True)
    for array in arrays:
        array.attach_grad()

    def step():
        with mx.autograd.record():
            y = net(*arrays)
        y.backward()
        mx.nd.waitall()
    return step


def gate_row(shape, rounds):
    """How long both ways take, and their median ratio."""
    steps = {name: gate_step(shape, name == 'training') for name in ('training', 'broadcast_mul')}
    taken = in_turn({name: functools.partial(lambda step, _: seconds(step), step)
                     for name, step in steps.items()}, rounds, warm=2)
    ratios = [slow / fast for slow, fast in zip(taken['broadcast_mul'], taken['training'])]
    return {'shape': '×'.join(map(str, shape)), **{
        f'{name}_ms': round(1000 * statistics.median(times), 3) for name, times in taken.items()},
        'ratio': round(statistics.median(ratios), 2), 'ratio_lowest': round(min(ratios), 2),
        'ratio_highest': round(max(ratios), 2)}


@entry
def main(argv=None):
    """Measure, print, keep, draw."""
    flags = parser(__doc__)
    flags.add_argument('--rounds', type=at_least(3), default=9,
                       help='measurements of each point at most')
    flags.add_argument('--seconds', type=float, default=8, help='for all blocks at one size, about')
    flags.add_argument('--limit', type=float, default=4,
                       help='seconds of a step; longer ones are left out')
    flags.add_argument('--quick', action='store_true', help='few small sizes: does it run?')
    flags.add_argument('--out', type=Path, default=HERE, help='folder of the three files')
    flags.add_argument('--gate', action='store_true', help='only the gate, both ways')
    args = flags.parse_args(argv)
    if args.gate:
        shapes = GATES[:1] if args.quick else GATES
        keep([gate_row(shape, args.rounds) for shape in shapes], args.out / 'block_gate.csv')
        return
    channels, sizes = ((16,), ((3, 3), (5, 5), (2, 5, 5))) if args.quick else (CHANNELS, SIZES)
    points = {point: counted(point) for point in
              (Point(block, c, size) for c in channels for size in sizes for block in BLOCKS)}
    table = list(rows(points, *measure(points, args)))
    keep(table, args.out / 'block.csv')
    keep(list(crossover_rows(table)), args.out / 'block_crossover.csv')
    draw(table, args.out / 'block.png')


if __name__ == '__main__':
    serve(weighing) if sys.argv[1:2] == ['--child'] else main()
