#!/usr/bin/env python3
"""Make the file of a release out of exported files, and say what stands in its row.

    python tools/release.py runs/digits/export/a2_resnet26 digits
    python tools/release.py PREFIX NAME --data-dir DIR

Kernels are rounded to float16, which halves the file; all else stays as it is. What is scored, and
what the row says, is the rounded network.
"""
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError
from gluon_a2.files import sha256, write_whole


def rounded(values):
    """The arrays of a bundle, those of two axes and more in float16."""
    return {name: value.astype(np.float16 if value.ndim > 1 else np.float32)
            for name, value in values.items()}


@entry
def main(argv=None):
    """Round, write, score, print the row."""
    flags = parser(__doc__)
    flags.add_argument('prefix', help='of the exported files')
    flags.add_argument('name', help='of the release')
    flags.add_argument('--data-dir', help='held-out data; by default what it was trained on, if '
                       'embedded')
    flags.add_argument('--recipe', default='digits',
                       help='whose preprocessing it takes (%(default)s)')
    args = flags.parse_args(argv)
    from gluon_a2.deploy import Classifier
    from gluon_a2.formats import params
    from gluon_a2.models.released import HERE, Release
    from gluon_a2.run.load import load
    from gluon_a2.scoring.samples import open_samples
    bundle = load(args.prefix)
    half = rounded(bundle.values)
    if not all(np.isfinite(value).all() for value in half.values()):
        raise UserError(f'{args.prefix} has values that float16 cannot hold: it cannot be released')
    content = params.to_bytes(half)
    again = {name: value.astype(np.float32) for name, value in half.items()}
    bundle = bundle._replace(
        arguments={name: again[name] for name in bundle.arguments},
        statistics={name: again[name] for name in bundle.statistics})
    scores = Classifier(bundle).score(open_samples(bundle.meta, args.data_dir), 32, 0)
    HERE.mkdir(exist_ok=True)
    write_whole(HERE / f'{bundle.meta["network"]}-{args.name}.params', content)
    print(f'{args.name!r}:', Release(
        bundle.meta['network'], bundle.meta['training']['data'], tuple(bundle.meta['classes']),
        args.recipe, bundle.meta['input_shape'][-1], round(scores.accuracy, 6), scores.images,
        sha256(content)))


if __name__ == '__main__':
    sys.exit(main())
