#!/usr/bin/env python3
"""Does a damaged or hostile file crash us, hang us or take our memory? Mutations of real ones
through our readers.

    python proofs/fuzz_files.py -j 2

Half of the files are params (float32, int8 and bfloat16), half symbols (exported ones of the zoo,
quantized, fused and AMP ones). File `i` of seed `s` is always the same file. It is read in a worker
that may take half a gigabyte more than it began with, and a second of processor time (or ten by the
clock) for each file. Params are read whole; a symbol that is accepted is loaded by MXNet and asked
for its arguments and, for a small input, for its shapes and types.

    refused     with our sentence: `ParamsError`, `SymbolError`
    accepted    some changes do no harm
    exception   any other: a traceback for the user
    crash, hang, memory     the worker died by a signal; by the watchdog; the memory was not given

Prints and keeps `fuzz_files.csv`, and ends with 1 if there was any exception, crash, hang or excess
of memory; `--keep` names a folder for the files that caused one. `--reader mxnet` gives the same
files to MXNet's own readers.
"""
import collections
import contextlib
import json
import multiprocessing
import random
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, Tuple

import job
from bench import at_least, keep
from change_bytes import ANYWHERE, PARAMS
from change_graphs import GRAPH, all_operators, known_operators
from limited import results, silence
from tqdm import tqdm

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError
from gluon_a2.machine.resources import cores

DEFECTS = ('exception', 'crash', 'hang', 'memory')
VERDICTS = ('refused', 'accepted', *DEFECTS)
ZOO = (('resnet26', (1, 3, 32, 32)), ('a2_resnet26', (1, 3, 32, 32)),
       ('nl_resnet26', (1, 3, 32, 32)), ('se_resnet26', (1, 3, 32, 32)),
       ('a2_resnet26_3d', (1, 3, 8, 32, 32)))
CHANGES = {'params': PARAMS, 'symbol': (*ANYWHERE, *GRAPH)}


class Base(NamedTuple):
    """A sound file; `shape` is what a symbol is fed, () for params."""
    content: bytes
    shape: Tuple[int, ...] = ()


# ---- sound files

def sound_files():
    """{'params' or 'symbol': the `Base`s}: always the same ones."""
    import numpy as np

    from gluon_a2.backend import mx
    mx.random.seed(1)
    np.random.seed(1)
    files = {'params': [],
             'symbol': [Base((job.ROOT / f'symbols/{name}-symbol.json').read_bytes(), shape)
                        for name, shape in ZOO]}
    for symbol, values in _small_networks(mx):
        files['symbol'].append(Base(symbol.tojson().encode(), (2, 3, 16, 16)))
        files['params'].append(Base(_saved(values, symbol.list_auxiliary_states())))
    return files


def _small_networks(mx):
    """(symbol, {name: NDArray}) of a small network as it is, fused, under AMP and quantized."""
    from mxnet.contrib import amp, quantization
    symbol, arguments, statistics = _exported(_network(mx))
    yield symbol, {**arguments, **statistics}
    yield symbol.get_backend_symbol('MKLDNN'), {**arguments, **statistics}
    mixed = amp.convert_model(symbol, arguments, statistics, target_dtype='bfloat16',
                              cast_optional_params=True)
    yield mixed[0], {**mixed[1], **mixed[2]}
    for granularity in ('tensor-wise', 'channel-wise'):
        # New each time: calibrated on an iterator at its end, the network is one that MXNet 1.9.1
        # crashes in.
        images = mx.io.NDArrayIter(mx.nd.random.uniform(shape=(4, 3, 16, 16)), batch_size=2)
        quantized = quantization.quantize_net_v2(_network(mx), quantize_granularity=granularity,
                                                 calib_data=images, calib_mode='naive',
                                                 ctx=mx.cpu())
        symbol, arguments, statistics = _exported(quantized)
        yield symbol, {**arguments, **statistics}


def _network(mx):
    """Something of everything: convolutions, an A² block, an excitation, a sum, a fully connected
    layer."""
    from gluon_a2.nn import DoubleAttention, SqueezeExcite
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(8, 3, in_channels=3), mx.gluon.nn.BatchNorm(in_channels=8),
            mx.gluon.nn.Activation('relu'), DoubleAttention(8, m=4, n=4), SqueezeExcite(8),
            mx.gluon.nn.MaxPool2D(), mx.gluon.nn.Dense(7, in_units=8 * 49, activation='relu'),
            mx.gluon.nn.Dense(5, in_units=7))
    net.initialize(mx.init.Xavier())
    return net


def _exported(net):
    """(symbol, arguments, statistics) of a Gluon network, through the files that it exports."""
    from gluon_a2.backend import mx
    net.hybridize()
    net(mx.nd.zeros((2, 3, 16, 16)))
    with tempfile.TemporaryDirectory() as folder:
        net.export(f'{folder}/net')
        return mx.model.load_checkpoint(f'{folder}/net', 0)


def _saved(values, statistics):
    from gluon_a2.formats.params import to_bytes
    return to_bytes({f'{"aux" if name in statistics else "arg"}:{name}': value.asnumpy()
                     for name, value in values.items()})


# ---- one file

class Case(NamedTuple):
    """A mutated file."""
    format: str
    change: str
    content: bytes
    shape: Tuple[int, ...]


def kind(number):
    """(format, change) of a number: even ones are params, and the changes take turns."""
    form = ('params', 'symbol')[number % 2]
    return form, CHANGES[form][number // 2 % len(CHANGES[form])]


def make_case(files, seed, number):
    """The `Case` of a number."""
    rng = random.Random(f'{seed} {number}')
    form, change = kind(number)
    base = rng.choice(files[form])
    if change in GRAPH:
        graph = json.loads(base.content)
        changed = change(graph, rng) or graph
        text = changed if isinstance(changed, str) else json.dumps(changed,
                                                                   ensure_ascii=rng.random() < 0.5)
        content = text.encode(errors='surrogatepass')
    else:
        content = change(base.content, rng)
    return Case(form, change.__name__, content, base.shape)


def judge(case, reader):
    """Read a case as a user's file would be; the verdict, unless that ends the process."""
    try:
        READERS[reader][case.format](case)
    except UserError as error:
        return 'memory' if 'bad_alloc' in str(error) else 'refused'
    except MemoryError:
        return 'memory'
    except Exception:
        return 'exception'
    return 'accepted'


def _our_params(case):
    from gluon_a2.formats.params import from_bytes
    for array in from_bytes(case.content, 'file').values():
        array.tobytes()


def _our_symbol(case):
    from gluon_a2.backend import mx
    from gluon_a2.formats.symbol import parse_symbol
    symbol = parse_symbol(case.content, 'file')
    try:
        _ask(symbol, case.shape)
    # sound, and of no network that takes such an input
    except (mx.MXNetError, ValueError) as error:
        if 'bad_alloc' in str(error):
            raise MemoryError from error


def _mxnets_params(case):
    from gluon_a2.backend import mx
    with _refusals(mx):
        mx.nd.load_frombuffer(case.content)


def _mxnets_symbol(case):
    from gluon_a2.backend import mx
    with _refusals(mx):
        _ask(mx.sym.load_json(case.content.decode(errors='replace')), case.shape)


def _ask(symbol, shape):
    """What any user of a symbol asks of it."""
    symbol.list_outputs()
    symbol.list_auxiliary_states()
    arguments = symbol.list_arguments()
    fed = 'data' if 'data' in arguments or not arguments else arguments[0]
    symbol.infer_shape(**{fed: shape})
    symbol.infer_type(**{fed: 'float32'})


@contextlib.contextmanager
def _refusals(mx):
    """MXNet's own sentences count as refusals."""
    try:
        yield
    except mx.MXNetError as error:
        raise UserError(str(error)) from error


READERS = {'ours': {'params': _our_params, 'symbol': _our_symbol},
           'mxnet': {'params': _mxnets_params, 'symbol': _mxnets_symbol}}


def table(verdicts):
    """Rows, one a kind, of {number: verdict}."""
    counts = collections.Counter((*kind(number), verdict) for number, verdict in verdicts.items())
    return [{'format': form, 'change': change.__name__.replace('_', ' '),
             'files': sum(counts[form, change, verdict] for verdict in VERDICTS),
             **{verdict: counts[form, change, verdict] for verdict in VERDICTS}}
            for form, changes in CHANGES.items() for change in changes]


@entry
def main(argv=None):
    """Returns the exit code."""
    args = _parser().parse_args(argv)
    # MXNet and our reader, once, before the forks and the limits
    for load in (all_operators, known_operators):
        load()
    with ProcessPoolExecutor(1, multiprocessing.get_context('fork'), silence) as pool:
        files = pool.submit(sound_files).result()
    verdicts = {}

    def verdict_of(number):
        return judge(make_case(files, args.seed, number), args.reader)

    for number, verdict in tqdm(results(verdict_of, args.count, args.jobs), total=args.count,
                                disable=None):
        verdicts[number] = verdict
        if verdict in DEFECTS and args.keep:
            case, folder = make_case(files, args.seed, number), Path(args.keep)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f'{args.seed}-{number}-{case.change}-{verdict}.{case.format}').write_bytes(
                case.content)
    rows = table(verdicts)
    keep(rows, args.out)
    defects = {verdict: sum(row[verdict] for row in rows) for verdict in DEFECTS}
    print(f'{args.count:,} files: ' + ', '.join(f'{number} {verdict}'
                                                for verdict, number in defects.items()))
    return int(any(defects.values()))


def _parser():
    flags = parser(__doc__)
    flags.add_argument('--count', type=at_least(1), default=100_000, metavar='N', help='files')
    flags.add_argument('--seed', type=int, default=1)
    flags.add_argument('--reader', choices=READERS, default='ours',
                       help="whose reader is tried: MXNet's own shows what it is spared")
    flags.add_argument('-j', '--jobs', type=at_least(1), default=cores(), metavar='N',
                       help='worker processes')
    flags.add_argument('--keep', metavar='DIR', help='where to keep the files that caused a defect')
    flags.add_argument('--out', default=Path(__file__).with_suffix('.csv'),
                       metavar='CSV')
    return flags


if __name__ == '__main__':
    sys.exit(main())
