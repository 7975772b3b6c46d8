"""One image: from encoded bytes to pixels. `preprocess` takes it from there."""
from __future__ import annotations

from typing import Callable

import cv2
import numpy as np

from .headers import MAX_PIXELS, ImageError, read_header

__all__ = ['MAX_PIXELS', 'ImageError', 'decode']

_GREYS = 128, 65, 64  # what the blocks become that a scan lacks; the last two of CMYK, YCCK
# Data of a scan, whatever it stands for, with all restart markers that may be waited for.
_MORE = b''.join(bytes(range(255)) + bytes((0xff, 0xd0 + i % 8)) for i in range(16))
# What shows an image upright, by its EXIF orientation.
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: cv2.flip(image, 1), 3: lambda image: cv2.flip(image, -1),
    4: lambda image: cv2.flip(image, 0), 5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)}


def decode(encoded: bytes) -> np.ndarray:
    """Decode a JPEG, PNG, BMP, WebP, TIFF or PNM to uint8 H×W×3, RGB.

    The EXIF orientation is applied; grayscale is repeated to three channels; CMYK is converted;
    16-bit images are reduced to 8 bits and transparency is dropped. Raises `ImageError` for
    anything else, for truncated data, and for more than `MAX_PIXELS` pixels (a WebP: twice that).
    """
    header = read_header(encoded)
    image = _opencv(encoded)
    corner = set(image[-2:, -2:].flat)
    if header.scan and len(corner) == 1 and corner.issubset(_GREYS):
        # A scan may end too early although an end marker follows. More data in front of the marker
        # changes the pixels only where some were missing.
        end = encoded.find(b'\xff\xd9', header.scan)
        if not np.array_equal(_opencv(encoded[:end] + _MORE + encoded[end:]), image):
            raise ImageError('it is truncated')
    if header.orientation > 1:
        image = _TURNS[header.orientation](image)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _opencv(encoded):
    """uint8 H×W×3, BGR, as it is stored."""
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8),
                             cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError(f'OpenCV cannot decode it ({error.err})') from error
    if image is None:
        raise ImageError('OpenCV cannot decode it')
    return image
