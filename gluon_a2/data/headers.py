"""What an image file says of itself before it is decoded: its size, orientation, and whether it is
whole.

OpenCV fills what a truncated file lacks with grey and reports nothing, and reads the orientation of
some files only. Both have to be found here.
"""
from __future__ import annotations

import re
import struct
from typing import NamedTuple

MAX_PIXELS = 2 ** 27  # 402 MB decoded: far above any photo, far below a machine's memory

# JPEG markers that start a frame and so carry its size; C4, C8 and CC in their midst mean other
# things.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_APP1, _SCAN, _END = 0xE1, 0xDA, 0xD9
_MARKER = re.compile(rb'\xff[^\x00\xff\xd0-\xd7]')  # one that ends the data of a scan
_ALL = 2 ** 64 - 1  # the 64 coefficients of a block, a bit each
_PNM = re.compile(rb'P[1-6]' + 2 * rb'\s+(?:#[^\n]*\n\s*)*(\d{1,9})')
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274  # tags of TIFF, and so of EXIF
_KINDS = {3: 'H', 4: 'I'}  # SHORT and LONG


class ImageError(Exception):
    """This one image cannot be read or decoded; the message is the reason."""


class Header(NamedTuple):
    """Size in pixels as stored; EXIF orientation, 1…8; where the scan of a JPEG begins, 0 if it has
    several, and for other formats."""
    width: int
    height: int
    orientation: int = 1
    scan: int = 0


def read_header(encoded: bytes) -> Header:
    """The `Header` of an encoded image; `ImageError` unless it is of a format that is read here,
    whole and of a sane size, as far as its structure says."""
    reader = next((read for start, read in _READERS.items() if encoded.startswith(start)), None)
    if reader is None:
        raise ImageError('it is empty' if len(encoded) == 0 else
                         'it is not a JPEG, PNG, BMP, WebP, TIFF or PNM image')
    try:
        header = reader(encoded)
    except (struct.error, IndexError):
        raise ImageError('it is truncated') from None
    if header.width * header.height > MAX_PIXELS:
        raise ImageError(f'it has {header.width} × {header.height} pixels, more than {MAX_PIXELS}')
    return header


def is_image(start: bytes) -> bool:
    """Whether a file that begins with these 16 bytes is of a format that is read here."""
    return start.startswith(tuple(_READERS))


def _jpeg(encoded):
    """Walk the segments until each coefficient has a scan; an end marker (EOI) must follow."""
    missing, progressive, size, orientation, position = {}, False, None, 1, 2
    while position + 9 <= len(encoded):
        marker = encoded[position + 1]
        if encoded[position] != 0xFF or marker in (0x00, 0xFF):
            position += 1  # filling between segments, which decoders skip
            continue
        length, = struct.unpack_from('>H', encoded, position + 2)
        if marker in _FRAMES and not size:
            height, width, count = struct.unpack_from('>HHB', encoded, position + 5)
            size, progressive = (width, height), marker in _PROGRESSIVE
            missing = dict.fromkeys(encoded[position + 10:position + 10 + 3 * count:3], _ALL)
        elif marker == _APP1 and encoded[position + 4:position + 8] == b'Exif' and orientation == 1:
            orientation = _orientation(encoded[position + 10:position + 2 + length])
        elif marker == _END:
            break
        elif marker == _SCAN:
            whole = _scan(encoded, position, missing, progressive)
            # From behind, as the end marker is nearly always last; a thumbnail's own lies before.
            if size and not any(missing.values()) and encoded.rfind(b'\xff\xd9', position) >= 0:
                return Header(*size, orientation, position if whole else 0)
            following = _MARKER.search(encoded, position + 2 + length)
            position = following.start() if following else len(encoded)
            continue
        position += 2 + length
    raise ImageError('it is truncated')


def _scan(encoded, position, missing, progressive):
    """Take what a scan brings in full precision off `missing`; whether it brings all there is."""
    count = encoded[position + 4]
    components = encoded[position + 5:position + 5 + 2 * count:2]
    first, last, precision = struct.unpack_from('3B', encoded, position + 5 + 2 * count)
    if not progressive:
        first, last, precision = 0, 63, 0
    if precision & 15 == 0:  # bits still to come
        for component in components:
            missing[component] = missing.get(component, 0) & ~(2 ** (last + 1) - 2 ** first)
    return not progressive and len(components) == len(missing)


def _png(encoded):
    if encoded.rfind(b'IEND\xaeB`\x82') < 0:
        raise ImageError('it is truncated')
    exif = encoded.find(b'eXIf')
    return Header(*struct.unpack_from('>II', encoded, 16),
                  1 if exif < 0 else _orientation(encoded[exif + 4:]))


def _bmp(encoded):
    """Of Windows or OS/2 (a header of 12 bytes); pixels are counted, as its size field may lie."""
    start, header = struct.unpack_from('<II', encoded, 10)
    width, height, _, bits = struct.unpack_from('<HHHH' if header == 12 else '<iiHH', encoded, 18)
    packing, packed = (0, 0) if header == 12 else struct.unpack_from('<II', encoded, 30)
    height = abs(height)  # a negative one means stored from the top
    needed = packed if packing in (1, 2) else (width * bits + 31) // 32 * 4 * height
    if start + needed > len(encoded) and width * height <= MAX_PIXELS:
        raise ImageError('it is truncated')
    return Header(width, height)


def _webp(encoded):
    length, kind = struct.unpack_from('<I4s', encoded, 4)
    if kind != b'WEBP':
        raise ImageError('it is not a WebP image')
    if length + 8 > len(encoded):
        raise ImageError('it is truncated')
    position, orientation = 12, 1
    while position + 8 <= length + 8:
        kind, size = struct.unpack_from('<4sI', encoded, position)
        if kind == b'EXIF':
            exif = encoded[position + 8:position + 8 + size]
            orientation = _orientation(exif[6:] if exif[:4] == b'Exif' else exif)
        position += 8 + size + size % 2
    return Header(1, 1, orientation)  # its sides are below 2¹⁴: at most twice `MAX_PIXELS`


def _tiff(encoded):
    """OpenCV turns it itself, and refuses one that is not whole."""
    tags = _tags(encoded)
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise ImageError('it is truncated')
    return Header(tags[_WIDTH], tags[_HEIGHT])


def _pnm(encoded):
    """PBM, PGM or PPM; OpenCV refuses one that is not whole."""
    found = _PNM.match(encoded)
    if not found:
        raise ImageError('it is truncated')
    return Header(*map(int, found.groups()))


def _orientation(exif):
    """1…8, as the TIFF file inside of EXIF says; 1 where it does not."""
    value = _tags(exif).get(_ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


def _tags(data):
    """{tag: its whole number} of the first directory of a TIFF file, as far as it can be read."""
    tags, order = {}, '<' if data[:2] == b'II' else '>'
    try:
        magic, start = struct.unpack_from(order + 'HI', data, 2)
        count, = struct.unpack_from(order + 'H', data, start)
        for entry in range(start + 2, start + 2 + 12 * count * (magic == 42), 12):
            tag, kind = struct.unpack_from(order + 'HH', data, entry)
            if kind in _KINDS:
                tags[tag], = struct.unpack_from(order + _KINDS[kind], data, entry + 8)
    except struct.error:
        pass
    return tags


_READERS = {b'\xff\xd8\xff': _jpeg, b'\x89PNG\r\n\x1a\n': _png, b'BM': _bmp, b'RIFF': _webp,
            b'II*\0': _tiff, b'MM\0*': _tiff,
            **{b'P%d%c' % (kind, blank): _pnm for kind in range(1, 7) for blank in b' \t\r\n'}}
