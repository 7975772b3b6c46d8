"""Class folders to record files, and the check of record files; `gluon-a2 prepare-imagenet` is
its command line."""
from __future__ import annotations

import functools
import os
from typing import Sequence

import cv2
import numpy as np

from ..errors import UserError
from .classes import CLASSES_FILE, check_labels, open_text, read_classes, write_classes
from .images import ImageError, decode
from .listing import entries
from .parallel import check_workers, in_parallel
from .recordio import RecordError, RecordWriter
from .sources import FlatSource, FolderSource, RecordSource, is_image_file

_SHUFFLE_SEED = 100  # im2rec's


def prepare(data_dir: str, out: str, splits: Sequence[str], resize: int = 0, quality: int = 95,
            jobs: int = 1, overwrite: bool = False, val_labels: str | None = None) -> list[str]:
    """Write `<out>/<split>.rec`, `.idx`, `.lst` and `classes.txt` from
    `<data_dir>/<split>/<class>/`.

    The files do not depend on `jobs`. Images are copied byte for byte, unless their short side is
    longer than `resize` > 0: they are reduced to it and stored as JPEGs of this `quality`. Images
    that cannot be decoded are left out. Training images are shuffled, once and for all: readers
    like ImageRecordIter go through a file in its order, or shuffle within a window of it. Other
    splits keep the order of the folders. With `val_labels`, the images of 'val' lie in one folder,
    as those of ImageNet do, and this list has their labels (see `read_val_labels`). Returns one
    sentence for each image left out; raises `UserError` before anything is written.
    """
    check_workers(jobs)
    folders = {split: os.path.join(data_dir, split) for split in (*splits, 'train')}
    sources = {split: FolderSource(folders[split]) for split in splits
               if split != 'val' or not val_labels}
    if val_labels and 'val' in splits:
        like = next(iter(sources.values()), None) or FolderSource(folders['train'])
        sources['val'] = _labelled(folders['val'], val_labels, like.classes)
    (first, classes), *others = ((split, source.classes) for split, source in sources.items())
    for split, other in others:
        odd = sorted(set(classes) ^ set(other))
        if odd:
            raise UserError(f'{first} and {split} must have the same class folders, or their '
                            f'labels differ; {len(odd)} are in one of them only, such as {odd[0]}')
    os.makedirs(out, exist_ok=True)
    names = os.path.join(out, CLASSES_FILE)
    for path in [] if overwrite else [os.path.join(out, split + '.rec') for split in splits]:
        if os.path.exists(path):
            raise UserError(f'{path} exists already: choose another `out`, or `overwrite`')
    if not overwrite and os.path.exists(names) and read_classes(names) != classes:
        raise UserError(f'{names} lists other classes than these folders: choose another `out`, or '
                        '`overwrite`')
    write_classes(out, classes)
    problems = []
    for split, source in sources.items():
        problems += _write_split(source, os.path.join(out, split + '.rec'), split == 'train',
                                 (resize, quality), jobs)
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


def _labelled(folder, path, classes):
    """The images of a flat folder, with the labels that the list gives."""
    names = [entry.name for entry in entries(folder) if is_image_file(entry)]
    if not names:
        raise UserError(f'{folder} itself holds no images: leave out `val_labels` where class '
                        'folders hold them')
    found = read_val_labels(path, names)
    number = {name: i for i, name in enumerate(classes)}
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise UserError(f'{path} has {len(unknown)} classes without a folder in train, such as '
                        f'{unknown[0]}')
    return FlatSource(folder, names, np.array([number[name] for name in found]), classes)


def read_val_labels(path: str, names: Sequence[str]) -> list[str]:
    """The class of each of the images `names`, which are sorted; UserError unless all have one.

    A line of the list is `name class`, also with a comma (Kaggle's LOC_val_solution.csv); or a
    class, in the order of the images; or a number (ILSVRC2012_validation_ground_truth.txt), which
    meta.mat beside the list translates.
    """
    with open_text(path) as file:
        rows = [line.strip() for line in file if line.strip()]
    stems, listed = [os.path.splitext(name)[0] for name in names], {}
    for row in rows:  # Kaggle's go on behind the class with boxes
        name, *label = row.replace(',', ' ', 1).split(None, 1)
        listed[os.path.splitext(name)[0]] = (label[0].split()[0] if label and ',' in row else
                                             ''.join(label))
    missing = [name for name, stem in zip(names, stems) if not listed.get(stem)]
    if not missing:
        return [listed[stem] for stem in stems]
    if len(missing) < len(names):
        raise UserError(f'{path} lists {len(names) - len(missing)} of the {len(names)} images '
                        f'only; {missing[0]} is not among them')
    if len(rows) != len(names):
        raise UserError(f'{path} has {len(rows)} labels, and there are {len(names)} images')
    return _wnids(path, rows) if all(map(str.isdecimal, rows)) else rows


def _wnids(path, numbers):
    """WordNet ids of ILSVRC2012's class numbers, which count from 1 in an order of their own."""
    meta = os.path.join(os.path.dirname(path), 'meta.mat')
    if not os.path.exists(meta):
        raise UserError(f'{path} has class numbers, which only meta.mat of the development kit '
                        f'translates: put it beside, as {meta}')
    from scipy.io import loadmat
    known = {str(int(row[0])): str(row[1]) for row in loadmat(meta, squeeze_me=True)['synsets']}
    return [known.get(number, number) for number in numbers]


def _write_split(source, path, shuffled, encoding, jobs):
    order = np.arange(len(source))
    if shuffled:
        np.random.default_rng(_SHUFFLE_SEED).shuffle(order)
    problems = []
    with RecordWriter(path) as writer:
        work = functools.partial(_convert, source, *encoding)
        results = in_parallel(work, order.tolist(), jobs, os.path.basename(path), 'image')
        for i, (image, reason) in zip(order, results):
            if reason:
                problems.append(f'left out {source.name(i)}: {reason}')
            else:
                writer.write(image, source.labels[i], key=int(i), name=source.relative(i))
        if writer.count == 0:
            raise UserError(f'not one image in {source.folder} can be decoded: nothing to write')
    return problems


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
