"""scikit-learn's handwritten digits as record files: real images for trying things out without a download.

1797 scans of 8×8 pixels, enlarged to 32×32. Every fifth image is for validation: 1438 and 359.
The images come in the order in which they were collected, and scikit-learn does not say who wrote which, so the same
writers appear on both sides of this split: its accuracy says that a network learns, not how it does on new writers.
"""
import os
import tempfile

import cv2
import numpy as np

from ..errors import UserError
from .recordio import RecordReader, RecordWriter
from .sources import write_classes

COUNTS = {'train': 1438, 'val': 359}
_SIDE = 32
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


def digits_folder(cache=None):
    """Path of a folder with `train.rec` and `val.rec`, which is written the first time.

    It is `digits` inside `cache`, by default the environment variable GLUON_A2_CACHE or ~/.cache/gluon_a2.
    Processes may call this at the same time. Raises `UserError` when the folder is there but not whole.
    """
    cache = cache or os.environ.get('GLUON_A2_CACHE') or os.path.join(os.path.expanduser('~'), '.cache', 'gluon_a2')
    folder = os.path.join(cache, 'digits')
    if not os.path.exists(folder):
        os.makedirs(cache, exist_ok=True)
        _build(cache, folder)
    for split, count in COUNTS.items():
        found = len(RecordReader(os.path.join(folder, split + '.rec')))
        if found != count:
            raise UserError(f'{folder} holds {found} instead of {count} {split} images: remove it to have it rebuilt')
    return folder


def _build(cache, folder):
    """Write beside the final place and rename, so that nobody ever sees half of it."""
    images, labels = _load()
    is_val = np.arange(len(images)) % 5 == 4
    with tempfile.TemporaryDirectory(prefix='.digits-', dir=cache) as draft:
        content = os.path.join(draft, 'digits')
        os.mkdir(content)
        write_classes(content, [str(digit) for digit in range(10)])
        for split, chosen in (('train', ~is_val), ('val', is_val)):
            with RecordWriter(os.path.join(content, split + '.rec')) as writer:
                for i in np.flatnonzero(chosen).tolist():
                    writer.write(_encode(images[i]), labels[i], key=i, name=f'{labels[i]}/{i:04d}.jpg')
        try:
            os.rename(content, folder)
        except OSError:
            if not os.path.exists(folder):  # otherwise another process was first: its work is as good
                raise


def _load():
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError('the digits come with scikit-learn: pip install scikit-learn') from error
    digits = load_digits()
    return digits.images, digits.target.tolist()


def _encode(image):
    """8×8 values 0…16 to a grayscale JPEG of 32×32."""
    grey = np.round(image * (255 / 16)).astype(np.uint8)
    large = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode('.jpg', large, _JPEG)[1].tobytes()
