#!/usr/bin/env python3
"""Every network of the zoo in PyTorch: is it the same network, does it learn the same, and does it
come back?

    python proofs/torch_zoo.py

Each has random weights and statistics, and is exported by `--torch`. Then, beside MXNet: `logits`
of photographs in float64 and float32 (`rounding` is how far MXNet's own are from float64);
`gradients` of the cross-entropy and running `statistics` after a step of training, in float64, on a
batch of 3; and `back`, whether what PyTorch saves is read back to the bit. A difference is the
largest of an array over the largest value of that array; the largest of all arrays counts. Exit
code 1 where one is above its limit: 1e-10 in float64, and in float32 1e-6, or three times the
rounding. Keeps `torch_zoo.csv`; with `--networks` the rows of the others stay as they are.
"""
import importlib.util
import sys
import tempfile
from pathlib import Path

import job  # noqa: F401 (it makes `bench` importable)
import numpy as np
from bench import keep, read_rows
from tqdm import tqdm

from gluon_a2.cli import entry, parser

FLOAT64 = ('logits', 'gradients', 'statistics')
SIZES = {2: (64, 64), 3: (8, 32, 32)}
CLASSES = 7


def form():
    """The module of the PyTorch form."""
    from gluon_a2.deploy.pytorch import MODULE
    spec = importlib.util.spec_from_file_location(MODULE.stem, MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def held(row):
    """Whether a row keeps to the limits."""
    return (row['back'] == 'same bits' and all(float(row[name]) <= 1e-10 for name in FLOAT64)
            and float(row['logits_float32']) <= max(1e-6, 3 * float(row['rounding'])))


def gap(theirs, ours):
    """The largest difference, relative to the largest value."""
    return float(np.abs(theirs - ours).max() / max(np.abs(ours).max(), 1e-300))


def randomized(name, seed=1, **options):
    """A Gluon network in which no two numbers are alike, statistics included."""
    from gluon_a2.backend import mx
    from gluon_a2.models import get_model
    net, rng = get_model(name, classes=CLASSES, **options), np.random.RandomState(seed)
    net.initialize()
    for key, parameter in net.collect_params().items():
        if key.endswith(('gamma', 'running_var')):
            value = rng.uniform(0.5, 1.5, parameter.shape)
        elif len(parameter.shape) == 1:
            value = rng.normal(0, 0.1, parameter.shape)
        else:
            value = rng.normal(0, (2 / np.prod(parameter.shape[1:])) ** 0.5, parameter.shape)
            if key.endswith(('conv3_conv_weight', 'expand_conv_weight')):
                value /= 4  # else dozens of branches add up, and rounding with them
            elif key.endswith('theta_conv_weight'):
                value /= 8  # else attention is so sharp that rounding alone moves the logits
        parameter.set_data(mx.nd.array(value))
    return net


def trained(net, pixels, labels):
    """({parameter: gradient}, {statistic: value}) in float64 after a step of training in MXNet."""
    from gluon_a2.backend import mx
    net.cast('float64')
    criterion = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    with mx.autograd.record():
        loss = criterion(net(mx.nd.array(pixels, dtype='float64')),
                         mx.nd.array(labels, dtype='float64')).mean()
    loss.backward()
    parameters = net.collect_params()
    return ({name: value.grad().asnumpy() for name, value in parameters.items()
             if value.grad_req != 'null'},
            {name: value.data().asnumpy() for name, value in parameters.items()
             if value.grad_req == 'null'})


def trained_there(net, pixels, labels):
    """The same in PyTorch, of a network in float64, by its names."""
    import torch
    net.train()
    loss = torch.nn.functional.cross_entropy(net(torch.from_numpy(pixels)),
                                             torch.from_numpy(labels))
    loss.backward()
    return ({name: value.grad.numpy() for name, value in net.named_parameters()},
            {name: value.numpy() for name, value in net.named_buffers()
             if not name.endswith('tracked')})


def measure(name, **options):
    """A row: what became of one network."""
    import torch

    from gluon_a2 import data
    from gluon_a2.deploy import parity
    from gluon_a2.deploy.gluon import from_gluon
    from gluon_a2.deploy.mxnet_engine import MXNetEngine
    from gluon_a2.deploy.pytorch import to_torch
    from gluon_a2.formats.pytorch import name_there
    from gluon_a2.run.network import with_weights
    net = randomized(name, **options)
    size = SIZES[net.row.dims]
    prepared = (data.Preprocessing(size[0]) if net.row.dims == 2 else
                data.ClipPreprocessing(size[-1], frames=size[0]))
    bundle = from_gluon(net, name, list(map(str, range(CLASSES))), prepared)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'network.safetensors'
        path.write_bytes(to_torch(bundle))
        there, meta = form().load(path)
        form().save(there, path, meta)
        back = with_weights(bundle, str(path)).values
    same = all(np.array_equal(back[key], value) for key, value in bundle.values.items())
    pixels = parity.photos(bundle.meta, 3, size[-1])
    ours, exact = (MXNetEngine(bundle, dtype=dtype)(pixels) for dtype in ('float32', 'float64'))
    with torch.inference_mode():
        logits = there(torch.from_numpy(pixels)).numpy()
    there.double()
    with torch.inference_mode():
        wide = there(torch.from_numpy(pixels.astype('float64'))).numpy()
    rng = np.random.RandomState(2)
    batch, labels = rng.normal(size=(3, 3, *size)), np.array([0, 3, 6])
    differences = [max(gap(theirs[name_there(key)], value) for key, value in mine.items())
                   for theirs, mine in zip(trained_there(there, batch, labels),
                                           trained(net, batch, labels))]
    return {'network': name, 'input': '×'.join(map(str, size)), 'logits': gap(wide, exact),
            'logits_float32': gap(logits, ours), 'rounding': gap(ours, exact),
            'gradients': differences[0], 'statistics': differences[1],
            'back': 'same bits' if same else 'differs'}


@entry
def main(argv=None):
    """Measure, print, keep."""
    flags = parser(__doc__)
    flags.add_argument('--networks', nargs='+', metavar='NAME',
                       help='these alone')
    args = flags.parse_args(argv)
    from gluon_a2.models import list_models
    path = Path(__file__).with_suffix('.csv')
    rows = {row['network']: row for row in read_rows(path)} if path.exists() else {}
    for name in tqdm(args.networks or list_models(), unit='network', disable=None):
        rows[name] = {key: f'{value:.1e}' if isinstance(value, float) else value
                      for key, value in measure(name).items()}
    keep([rows[name] for name in list_models() if name in rows], path)
    return 0 if all(map(held, rows.values())) else 1


if __name__ == '__main__':
    sys.exit(main())
