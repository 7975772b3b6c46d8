#!/usr/bin/env python
"""Export a run's checkpoint as symbol, params and metadata, which plain MXNet loads.

    python scripts/export.py runs/demo --checkpoint best --out exported/a2_resnet26
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser


@entry
def main(argv=None):
    """Parse, export, name the files."""
    flags = parser(__doc__)
    flags.add_argument('run', help='folder of a run')
    flags.add_argument('--checkpoint', help="'last' (where not given), 'best' or the path of one")
    flags.add_argument('--out', help='prefix of the files; <run>/export/<model> where not given')
    args = flags.parse_args(argv)
    from gluon_a2.deploy import write_bundle
    from gluon_a2.train.network import load
    bundle = load(args.run, args.checkpoint)
    prefix = Path(args.out or Path(args.run) / 'export' / bundle.meta['network'])
    write_bundle(bundle, prefix)
    print(f'{prefix}-symbol.json, {prefix.name}-0000.params and {prefix.name}-meta.json: '
          f'{bundle.meta["network"]} after step {bundle.meta["training"]["step"]}')


if __name__ == '__main__':
    main()
