"""Class folders, or ImageNet as it is distributed, to record files, and the check of record files;
`gluon-a2 prepare-imagenet` is its command line."""
from __future__ import annotations

import functools
import os
from typing import Sequence

import cv2
import numpy as np

from ..errors import UserError
from .classes import CLASSES_FILE, check_labels, read_classes, write_classes
from .imagenet import warn_of_counts
from .images import ImageError, decode
from .layouts import open_images
from .parallel import check_workers, in_parallel
from .recordio import RecordError, RecordWriter
from .sources import RecordSource

_SHUFFLE_SEED = 100  # im2rec's


def prepare(data_dir: str, out: str, splits: Sequence[str], resize: int = 0, quality: int = 95,
            jobs: int = 1, overwrite: bool = False, val_labels: str | None = None) -> list[str]:
    """Write `<out>/<split>.rec`, `.idx`, `.lst` and `classes.txt` from the images that
    `layouts.open_images` finds in `data_dir`: class folders, or ImageNet as it is distributed.

    The files do not depend on `jobs`. Images are copied byte for byte, unless their short side is
    longer than `resize` > 0: they are reduced to it and stored as JPEGs of this `quality`. Images
    that cannot be decoded are left out. Training images are shuffled, once and for all: readers
    like ImageRecordIter go through a file in its order, or shuffle within a window of it. Other
    splits keep the order of the names. With `val_labels`, the images of 'val' lie in one folder or
    tar file, and this list has their classes (see `read_val_labels`). Returns one sentence for each
    image left out; raises `UserError` before anything is written.
    """
    check_workers(jobs)
    sources = _open(data_dir, splits, val_labels)
    classes = next(iter(sources.values())).classes
    os.makedirs(out, exist_ok=True)
    names = os.path.join(out, CLASSES_FILE)
    for path in [] if overwrite else [os.path.join(out, split + '.rec') for split in splits]:
        if os.path.exists(path):
            raise UserError(f'{path} exists already: choose another `out`, or `overwrite`')
    if not overwrite and os.path.exists(names) and read_classes(names) != classes:
        raise UserError(f'{names} lists other classes than these folders: choose another `out`, or '
                        '`overwrite`')
    write_classes(out, classes)
    problems, written = [], {}
    for split, source in sources.items():
        written[split], reasons = _write_split(source, os.path.join(out, split + '.rec'),
                                               split == 'train', (resize, quality), jobs)
        problems += reasons
    warn_of_counts(classes, written)
    return problems


def verify(out: str, splits: Sequence[str], jobs: int = 1) -> list[str]:
    """Check `<out>/<split>.rec`: index, labels, checksums, and that every image decodes.

    Prints what each file holds. Returns one sentence for each thing wrong.
    """
    problems = []
    for split in splits:
        try:
            source = RecordSource(os.path.join(out, split + '.rec'))
            check_labels(source, len(source.classes))
        except UserError as error:
            problems.append(str(error))
            continue
        counts = np.bincount(source.labels, minlength=len(source.classes))
        print(f'{split}: {len(source)} records, labels {source.labels.min()} to '
              f'{source.labels.max()} of {len(source.classes)} classes, {counts.min()} to '
              f'{counts.max()} images each')
        try:
            source.check_complete()
        except RecordError as error:  # the records that the index finds can be checked all the same
            problems.append(str(error))
        work = functools.partial(_convert, source, 0, 0)
        for i, (_, reason) in enumerate(in_parallel(work, range(len(source)), jobs, split,
                                                    'image')):
            if reason:
                problems.append(f'{source.name(i)}: {reason}')
    return problems


def _open(data_dir, splits, val_labels):
    """{split: source}, train first; UserError unless all have the same classes."""
    sources, classes = {}, None
    for split in sorted(splits, key=lambda split: split != 'train'):
        sources[split] = open_images(data_dir, split, val_labels, classes)
        classes = classes or sources[split].classes
        odd = sorted(set(classes) ^ set(sources[split].classes))
        if odd:
            raise UserError(f'{next(iter(sources))} and {split} must have the same classes, or '
                            f'their labels differ; {len(odd)} are in one of them only, such as '
                            f'{odd[0]}')
    return sources


def _write_split(source, path, shuffled, encoding, jobs):
    """(labels that were written, a sentence for each image left out)."""
    order = np.arange(len(source))
    if shuffled:
        np.random.default_rng(_SHUFFLE_SEED).shuffle(order)
    labels, problems = [], []
    with RecordWriter(path) as writer:
        work = functools.partial(_convert, source, *encoding)
        results = in_parallel(work, order.tolist(), jobs, os.path.basename(path), 'image')
        for i, (image, reason) in zip(order, results):
            if reason:
                problems.append(f'left out {source.name(i)}: {reason}')
            else:
                writer.write(image, source.labels[i], key=int(i), name=source.relative(i))
                labels.append(source.labels[i])
        if writer.count == 0:
            raise UserError(f'not one image in {source.folder} can be decoded: nothing to write')
    return labels, problems


def _convert(source, resize, quality, i):
    """(bytes to store, '') or (b'', why not)."""
    try:
        encoded = source.read(i)
        image = decode(encoded)
    except ImageError as error:
        return b'', str(error)
    height, width = image.shape[:2]
    if not 0 < resize < min(height, width):
        return encoded, ''
    size = round(width * resize / min(height, width)), round(height * resize / min(height, width))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes(), ''
