#!/usr/bin/env python
"""Name what is in pictures, from exported files alone.

    python scripts/predict.py --model runs/demo/export/a2_resnet26 docs/digit.png
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError


@entry
def main(argv=None):
    """Print the most probable classes of each image; exit code 1 if any could not be read."""
    flags = parser(__doc__)
    flags.add_argument('images', nargs='+', metavar='IMAGE', help='picture files')
    flags.add_argument('--model', required=True, help='prefix of exported files')
    flags.add_argument('--top', type=int, default=5, help='classes to print for each image')
    args = flags.parse_args(argv)
    from gluon_a2.deploy import Classifier
    net, failed = Classifier(args.model), 0
    for path in args.images:
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
