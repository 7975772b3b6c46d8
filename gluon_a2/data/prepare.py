"""Class folders to record files, and the check of record files; `scripts/prepare_imagenet.py` is
its command line."""
import collections
import concurrent.futures
import multiprocessing
import os

import cv2
import numpy as np
from tqdm import tqdm

from ..errors import UserError
from .images import ImageError, begin_worker, decode
from .recordio import RecordError, RecordWriter
from .sources import CLASSES_FILE, FolderSource, RecordSource, check_labels, read_classes, write_classes

_CHUNK = 16  # images a process takes at a time
_SHUFFLE_SEED = 100  # im2rec's


def prepare(data_dir, out, splits, resize=0, quality=95, jobs=1, overwrite=False):
    """Write `<out>/<split>.rec`, `.idx`, `.lst` and `classes.txt` from
    `<data_dir>/<split>/<class>/`.

    The files do not depend on `jobs`. Images are copied byte for byte, unless their short side is
    longer than `resize` > 0: they are reduced to it and stored as JPEGs of this `quality`. Images
    that cannot be decoded are left out. Training images are shuffled, once and for all: readers
    like ImageRecordIter go through a file in its order, or shuffle within a window of it. Other
    splits keep the order of the folders. Returns one sentence for each image left out; raises
    `UserError` before anything is written.
    """
    sources = {split: FolderSource(os.path.join(data_dir, split)) for split in splits}
    classes = _common_classes(sources)
    os.makedirs(out, exist_ok=True)
    if not overwrite:
        _refuse_to_overwrite(out, splits, classes)
    write_classes(out, classes)
    problems = []
    for split, source in sources.items():
        problems += _write_split(source, os.path.join(out, split + '.rec'), split == 'train',
                                 (resize, quality), jobs)
    return problems


def verify(out, splits, jobs=1):
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
        print(_describe(source, split))
        try:
            source.check_complete()
        except RecordError as error:  # the records that the index finds can be checked all the same
            problems.append(str(error))
        for i, (_, reason) in _in_parallel(source, range(len(source)), (0, 0), jobs, split):
            if reason:
                problems.append(f'{source.name(i)}: {reason}')
    return problems


def _common_classes(sources):
    (first, one), *others = sources.items()
    for split, other in others:
        odd = sorted(set(one.classes) ^ set(other.classes))
        if odd:
            raise UserError(f'{first} and {split} must have the same class folders, or their '
                            f'labels differ; {len(odd)} are in one of them only, such as {odd[0]}')
    return one.classes


def _refuse_to_overwrite(out, splits, classes):
    for split in splits:
        path = os.path.join(out, split + '.rec')
        if os.path.exists(path):
            raise UserError(f'{path} exists already: choose another --out, or --overwrite')
    path = os.path.join(out, CLASSES_FILE)
    if os.path.exists(path) and read_classes(path) != classes:
        raise UserError(f'{path} lists other classes than these folders: choose another --out, or '
                        '--overwrite')


def _write_split(source, path, shuffled, encoding, jobs):
    order = np.arange(len(source))
    if shuffled:
        np.random.default_rng(_SHUFFLE_SEED).shuffle(order)
    problems = []
    with RecordWriter(path) as writer:
        for i, (image, reason) in _in_parallel(source, order.tolist(), encoding, jobs,
                                               os.path.basename(path)):
            if reason:
                problems.append(f'left out {source.name(i)}: {reason}')
            else:
                writer.write(image, source.labels[i], key=i, name=source.relative(i))
        if writer.count == 0:
            raise UserError(f'not one image in {source.folder} can be decoded: nothing to write')
    return problems


def _describe(source, split):
    counts = np.bincount(source.labels, minlength=len(source.classes))
    return (f'{split}: {len(source)} records, labels {source.labels.min()} to '
            f'{source.labels.max()} of {len(source.classes)} classes, {counts.min()} to '
            f'{counts.max()} images each')


def _in_parallel(source, order, encoding, jobs, title):
    """Yield (index, (bytes, reason)) in this order; one of the two is empty. See `_convert` for
    `encoding`."""
    if jobs < 1:
        raise UserError(f'-j must be 1 or more, not {jobs}')
    context = multiprocessing.get_context('spawn')
    pool = concurrent.futures.ProcessPoolExecutor(jobs, context, _start, (source, *encoding))
    waiting = collections.deque()
    with pool, tqdm(total=len(order), unit='image', desc=title, disable=None) as bar:
        for start in range(0, len(order), _CHUNK):
            chunk = order[start:start + _CHUNK]
            waiting.append((chunk, pool.submit(_convert_all, chunk)))
            if len(waiting) > 4 * jobs:  # a bound on what waits in memory for the disk
                yield from _results(waiting.popleft(), bar)
        while waiting:
            yield from _results(waiting.popleft(), bar)


def _results(chunk_and_future, bar):
    chunk, future = chunk_and_future
    yield from zip(chunk, future.result())
    bar.update(len(chunk))


def _start(*job):
    """Begin a worker process: `job` is source, resize, quality."""
    global _job
    _job = job
    begin_worker()


def _convert_all(indices):
    return [_convert(i, *_job) for i in indices]


def _convert(i, source, resize, quality):
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
