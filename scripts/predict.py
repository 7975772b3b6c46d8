#!/usr/bin/env python
"""Name what is in pictures or videos, from exported files alone.

    python scripts/predict.py --model runs/demo/export/a2_resnet26 docs/digit.png
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError


@entry
def main(argv=None):
    """Print the most probable classes of each file; exit code 1 if any could not be read."""
    flags = parser(__doc__)
    flags.add_argument('files', nargs='+', metavar='FILE', help='pictures, or videos where the network is of video')
    flags.add_argument('--model', required=True, help='prefix of exported files')
    flags.add_argument('--top', type=int, default=5, help='classes to print for each file')
    flags.add_argument('--views', type=int, help="clips of each video; the network's own number where not given")
    flags.add_argument('--crops', type=int, help='windows of each clip, likewise')
    args = flags.parse_args(argv)
    from gluon_a2.deploy import Classifier
    net, failed = Classifier(args.model, views=args.views, crops=args.crops), 0
    for path in args.files:
        try:
            guesses = net.predict(path, args.top)
        except UserError as error:
            print(f'error: {error}', file=sys.stderr)
            failed += 1
            continue
        print(f'{path}: ' + ', '.join(f'{name} {100 * share:.2f} %' for name, share in guesses))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
