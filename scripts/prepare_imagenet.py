#!/usr/bin/env python3
"""Write ImageNet, or any class folders, as record files for training; or check such files.

    prepare_imagenet.py --data-dir IMAGENET --out RECORDS -j 8
    prepare_imagenet.py --verify --out RECORDS -j 8

reads IMAGENET/train/<class>/ and IMAGENET/val/<class>/, and writes RECORDS/train.rec, val.rec (each
with .idx and .lst) and classes.txt. Images are stored as they are, unless --resize is given. Exit
code 1: some images were left out, or --verify found something wrong. 2: nothing could be done.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

from gluon_a2 import cli
from gluon_a2.errors import UserError


def arguments(argv):
    """The parsed command line."""
    parser = cli.parser(__doc__)
    parser.add_argument('--data-dir', help='folder with train/<class>/ and val/<class>/')
    parser.add_argument('--out', required=True, help='folder of the record files')
    parser.add_argument('--split', default='train,val', help='splits to write or check, separated '
                                                             'by commas')
    parser.add_argument('--resize', type=int, default=0,
                        help='reduce the short side of larger images to this; 0 stores every image '
                             'as it is')
    parser.add_argument('--quality', type=int, default=95, choices=range(1, 101), metavar='1…100',
                        help='JPEG quality of images that are resized')
    parser.add_argument('-j', '--num-data-workers', type=int, default=os.cpu_count() or 1,
                        help='processes')
    parser.add_argument('--overwrite', action='store_true', help='replace record files that exist')
    parser.add_argument('--verify', action='store_true', help='check the record files in --out, '
                                                              'write nothing')
    return parser.parse_args(argv)


@cli.entry
def main(argv=None):
    """Write or verify records; exit code 1 if anything was wrong with them."""
    args = arguments(argv)
    from gluon_a2.data import prepare
    splits = args.split.split(',')
    if not all(splits):
        raise UserError(f'--split must be names separated by commas, not {args.split!r}')
    if args.verify:
        problems = prepare.verify(args.out, splits, args.num_data_workers)
    elif args.data_dir is None:
        raise UserError('--data-dir is missing: the folder with train/<class>/ and val/<class>/')
    elif args.resize < 0:
        raise UserError(f'--resize must be 0 or more, not {args.resize}')
    else:
        problems = prepare.prepare(args.data_dir, args.out, splits, args.resize, args.quality,
                                   args.num_data_workers, args.overwrite)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
