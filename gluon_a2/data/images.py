"""One image: from encoded bytes to pixels. `preprocess` takes it from there."""
import signal
import struct

import cv2
import numpy as np

MAX_PIXELS = 2 ** 27  # 402 MB decoded: far above any photo, far below a machine's memory

_PNG_END = b'IEND\xaeB`\x82'
# JPEG markers that start a frame and so carry its size; C4, C8 and CC in their midst mean other
# things.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA


class ImageError(Exception):
    """This one image cannot be read or decoded; the message is the reason."""


def begin_worker():
    """Begin a spawned process that decodes: Ctrl-C is for its parent, and parallelism comes from
    the processes, so OpenCV's threads would only fight them for the cores.

    A forked process must not call it, because setting OpenCV's threads there can deadlock.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)


def decode(encoded):
    """Decode a JPEG, PNG, BMP or WebP to uint8 H×W×3, RGB.

    A JPEG's EXIF orientation is applied; grayscale is repeated to three channels; CMYK is
    converted; 16-bit PNGs are reduced to 8 bits and transparency is dropped. Raises `ImageError`
    for anything else, for truncated data, and for more than `MAX_PIXELS` pixels.
    """
    if len(encoded) == 0:
        raise ImageError('it is empty')
    _check_structure(encoded)
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f'OpenCV cannot decode it ({error.err})') from error
    if image is None:
        raise ImageError('OpenCV cannot decode it')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _check_structure(encoded):
    """Raise `ImageError` unless `encoded` is whole and of a sane size, as far as its structure
    tells.

    OpenCV fills what a truncated file lacks with grey and reports nothing, so it has to be found
    here.
    """
    if encoded[:3] == b'\xff\xd8\xff':
        width, height = _jpeg_size(encoded)
    elif encoded[:8] == b'\x89PNG\r\n\x1a\n':
        width, height = _png_size(encoded)
    elif encoded[:2] == b'BM':
        width, height = _bmp_size(encoded)
    elif encoded[:4] == b'RIFF' and encoded[8:12] == b'WEBP':
        width = height = 1  # a WebP cannot have more than 16383 × 16383 pixels
        if struct.unpack_from('<I', encoded, 4)[0] + 8 > len(encoded):
            raise ImageError('it is truncated')
    else:
        raise ImageError('it is not a JPEG, PNG, BMP or WebP image')
    if width * height > MAX_PIXELS:
        raise ImageError(f'it has {width} × {height} pixels, more than {MAX_PIXELS}')


def _jpeg_size(encoded):
    """Walk the segments up to the first scan, whose data must be followed by an end marker
    (EOI)."""
    size, position = None, 2
    while position + 9 <= len(encoded):
        marker = encoded[position + 1]
        # filling between segments, which decoders skip
        if encoded[position] != 0xFF or marker in (0x00, 0xFF):
            position += 1
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from('>HH', encoded, position + 5)
            size = width, height
        # From behind, as the end marker is nearly always last; a thumbnail's own one lies before
        # the scan.
        if marker == _JPEG_SCAN and size and encoded.rfind(b'\xff\xd9', position) >= 0:
            return size
        if marker == _JPEG_SCAN:
            break
        position += 2 + struct.unpack_from('>H', encoded, position + 2)[0]
    raise ImageError('it is truncated')


def _png_size(encoded):
    if len(encoded) < 24 or encoded.rfind(_PNG_END) < 0:
        raise ImageError('it is truncated')
    return struct.unpack_from('>II', encoded, 16)


def _bmp_size(encoded):
    if len(encoded) < 26 or struct.unpack_from('<I', encoded, 2)[0] > len(encoded):
        raise ImageError('it is truncated')
    width, height = struct.unpack_from('<ii', encoded, 18)
    return abs(width), abs(height)  # a negative height means stored from the top
