#!/usr/bin/env python3
"""Every network of the zoo folded and written as ONNX, at the paper's input size: is it still the
same network?

    python proofs/export_zoo.py

The weights are random, the BatchNorm statistics those of photographs, the inputs photographs, or
pans across them. Folding is compared in float64 and in float32; ONNX Runtime with MXNet in batches
of 1 and 8 (clips: 2), at the network's own size and at 10/7 of it (224 and 320). A difference is
the largest of any logit, over the largest logit. Exit code 1 where one is too large. Keeps
`export_zoo.csv`.
"""
import sys
from pathlib import Path

import job  # noqa: F401 (it makes `bench` importable)
from bench import keep
from tqdm import tqdm

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError


def measure(name, input_size):
    """A row: what became of one network."""
    from gluon_a2.deploy import parity
    from gluon_a2.deploy.fold import fold
    from gluon_a2.deploy.onnx import to_onnx
    from gluon_a2.run.network import from_zoo
    bundle = from_zoo(name, input_size=input_size)
    folded, done, total = fold(bundle)
    row = {'network': name, 'input': '×'.join(map(str, bundle.meta['input_shape'][1:])),
           'folded': f'{done} of {total}'}
    try:
        wide, narrow = parity.fold_gap(bundle, folded)
        content = to_onnx(bundle)
        gaps = parity.onnx_gaps(bundle, content)
    except UserError as error:
        print(error, file=sys.stderr)
        return {**row, 'fold_float64': '', 'fold_float32': '', 'onnx_mb': '', 'agrees': 'no',
                'onnx_difference': ''}
    return {**row, 'fold_float64': f'{wide:.1e}', 'fold_float32': f'{narrow:.1e}',
            'onnx_mb': round(len(content) / 1e6, 1), 'agrees': 'yes',
            'onnx_difference': f'{max(gap.relative for gap in gaps):.1e}'}


@entry
def main(argv=None):
    """Measure, print, keep."""
    flags = parser(__doc__)
    flags.add_argument('--networks', nargs='+', metavar='NAME',
                       help='these alone, and nothing is kept')
    flags.add_argument('--input-size', type=int,
                       help="side of the input; the paper's where not given")
    args = flags.parse_args(argv)
    import logging

    from gluon_a2.models import list_models
    logging.disable(logging.WARNING)  # MXNet's converter speaks of each layer
    names = args.networks or list_models()
    rows = [measure(name, args.input_size) for name in tqdm(names, unit='network', disable=None)]
    alone = args.networks or args.input_size
    keep(rows, Path('/dev/null') if alone else Path(__file__).with_suffix('.csv'))
    return 0 if all(row['agrees'] == 'yes' for row in rows) else 1


if __name__ == '__main__':
    sys.exit(main())
