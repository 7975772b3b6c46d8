"""scikit-learn's handwritten digits as record files: real images for trying things out without a
download.

1797 scans of 8×8 pixels, enlarged to 32×32. Every fifth image is for validation: 1438 and 359. The
images come in the order in which they were collected, and scikit-learn does not say who wrote
which. So the same writers appear on both sides of this split. Its accuracy says that a network
learns, not how it does on new writers.
"""
from __future__ import annotations

import os

import cv2
import numpy as np

from ..errors import UserError
from .cache import made_once
from .classes import write_classes
from .recordio import RecordReader, RecordWriter

COUNTS = {'train': 1438, 'val': 359}
_SIDE = 32
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


def digits_folder(cache: str | os.PathLike | None = None) -> str:
    """Path of a folder with `train.rec` and `val.rec`, which is written the first time; see
    `cache.made_once`."""
    return made_once('digits', _write, cache, COUNTS, lambda folder, part: len(
        RecordReader(os.path.join(folder, part + '.rec'))))


def _write(folder):
    images, labels = load_digits()
    write_classes(folder, [str(digit) for digit in range(10)])
    for part in COUNTS:
        with RecordWriter(os.path.join(folder, part + '.rec')) as writer:
            for i in part_indices(part, len(images)).tolist():
                writer.write(_encode(images[i]), labels[i], key=i, name=f'{labels[i]}/{i:04d}.jpg')


def part_indices(part: str, count: int) -> np.ndarray:
    """int64 numbers of the 'train' or 'val' digits among `count`: every fifth is for validation."""
    return np.flatnonzero((np.arange(count) % 5 == 4) == (part == 'val'))


def load_digits() -> tuple[np.ndarray, list[int]]:
    """(float64 N×8×8 of values 0…16, list of labels), as scikit-learn has them; UserError where it
    is not there."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise UserError('the digits come with scikit-learn: pip install scikit-learn') from error
    digits = load()
    return digits.images, digits.target.tolist()


def _encode(image):
    """8×8 values 0…16 to a grayscale JPEG of 32×32."""
    grey = np.round(image * (255 / 16)).astype(np.uint8)
    large = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode('.jpg', large, _JPEG)[1].tobytes()
