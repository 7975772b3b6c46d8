"""Odd images decode to the right pixels; what is no whole image is refused with a reason."""
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gluon_a2.data import ImageError, decode, images


def noise(height=13, width=17, channels=3, seed=0, dtype=np.uint8):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def encode(image, kind='.png'):
    """Through OpenCV: channels are stored as BGR."""
    return cv2.imencode(kind, image)[1].tobytes()


def pillow(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def smooth(height=64, width=48):
    """An image that JPEG keeps nearly unchanged, different in every corner."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 / height, x * 255 / width, 128 + 0 * x], -1).astype(np.uint8)


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'WEBP', 'TIFF', 'PPM'])
def test_lossless_colour(kind):
    image = noise()
    options = {'lossless': True} if kind == 'WEBP' else {}
    np.testing.assert_array_equal(decode(pillow(Image.fromarray(image), kind, **options)), image)


def test_jpeg_colour():
    image = smooth()
    assert abs(decode(pillow(Image.fromarray(image), 'JPEG', quality=98)).astype(int)
               - image).max() <= 6


@pytest.mark.parametrize('progressive', [False, True])
def test_grayscale_jpeg(progressive):
    grey = smooth()[:, :, 0]
    image = decode(pillow(Image.fromarray(grey), 'JPEG', quality=98, progressive=progressive))
    assert image.shape == (64, 48, 3) and (image == image[:, :, :1]).all()
    assert abs(image[:, :, 0].astype(int) - grey).max() <= 6


def test_cmyk_jpeg():
    """Adobe CMYK, as in ImageNet: pure cyan is no red."""
    cmyk = Image.new('CMYK', (16, 16), (255, 0, 0, 0))
    red, green, blue = decode(pillow(cmyk, 'JPEG', quality=98))[8, 8].astype(int)
    assert red < 60 and green > 150 and blue > 150


def test_16_bit_png():
    image = noise(dtype=np.uint16)
    np.testing.assert_array_equal(decode(encode(image)), image[:, :, ::-1] >> 8)


def test_16_bit_gray_png():
    image = noise(channels=1, dtype=np.uint16)
    np.testing.assert_array_equal(decode(encode(image)), np.repeat((image >> 8)[:, :, None], 3, 2))


def test_alpha_is_dropped():
    image = noise(channels=4)
    np.testing.assert_array_equal(decode(pillow(Image.fromarray(image), 'PNG')),
                                  image[:, :, :3])


def test_palette_png():
    image = Image.fromarray(smooth()).quantize(16)
    np.testing.assert_array_equal(decode(pillow(image, 'PNG')), np.asarray(image.convert('RGB')))


def upright(encoded):
    """As Pillow shows it."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert('RGB'))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_every_orientation_of_every_format(kind, orientation):
    exif, image = Image.Exif(), Image.fromarray(noise(9, 16))
    exif[0x0112] = orientation
    options = {'WEBP': {'lossless': True}, 'JPEG': {'subsampling': 0}}.get(kind, {})
    encoded = pillow(image, kind, exif=exif, **options)
    np.testing.assert_array_equal(decode(encoded), upright(encoded))


@pytest.mark.parametrize('first', [
    b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>', b'Exif\0\0II*\0\x08\0\0\0\0\0',
    b'Exif\0\0damaged'])
def test_exif_that_is_not_the_first_segment(first):
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = pillow(Image.fromarray(noise(9, 16)), 'JPEG', exif=exif, subsampling=0)
    at = encoded.index(b'\xff\xe1')
    segment = b'\xff\xe1' + struct.pack('>H', len(first) + 2) + first
    np.testing.assert_array_equal(decode(encoded[:at] + segment + encoded[at:]), decode(encoded))


@pytest.mark.parametrize('bits', [1, 4, 8, 24])
def test_bmp_of_os_2_and_of_windows(bits):
    image = Image.fromarray(smooth(5, 7))
    image = {1: lambda: image.convert('1'), 4: lambda: image.convert('L').quantize(16),
             8: lambda: image.convert('L'), 24: lambda: image}[bits]()
    windows = pillow(image, 'BMP')
    np.testing.assert_array_equal(decode(windows), upright(windows))
    if bits == 24:  # of OS/2: a header of 12 bytes, with sizes of 16 bits
        os2 = (b'BM' + struct.pack('<IHHIIHHHH', 0, 0, 0, 26, 12, 7, 5, 1, 24) + windows[54:])
        np.testing.assert_array_equal(decode(os2), upright(windows))


@pytest.mark.parametrize('kind', [b'P1 3 2\n1 0 1\n0 1 0\n', b'P4\n3 2\n\xa0\x40',
                                  b'P5 # a comment\n3\n2 255\n\0\1\2\3\4\5',
                                  b'P6 1 2 65535\n' + bytes(range(12))])
def test_forms_of_pnm(kind):
    image = decode(kind)
    assert image.shape == ((2, 1, 3) if kind[:2] == b'P6' else (2, 3, 3))
    if kind[:2] in (b'P4', b'P6'):
        with pytest.raises(ImageError):
            decode(kind[:-1])


def test_exif_orientation_6_turns_clockwise():
    """The stored left edge becomes the top: stored (y, x) is shown at (x, height−1−y)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = smooth()
    shown = decode(pillow(Image.fromarray(image), 'JPEG', quality=98, exif=exif))
    assert shown.shape == (48, 64, 3)
    assert abs(shown[5, 64 - 1 - 50].astype(int) - image[50, 5]).max() <= 6
    assert abs(shown.astype(int) - np.rot90(image, -1)).max() <= 6


@pytest.mark.parametrize('kind', ['.png', '.jpg', '.bmp', '.webp'])
def test_one_pixel(kind):
    image = decode(encode(np.full((1, 1, 3), 77, np.uint8), kind))
    assert image.shape == (1, 1, 3) and abs(image.astype(int) - 77).max() <= 3


@pytest.mark.parametrize('encoded', [
    b'', b'\0', b'<html>404</html>', b'GIF89a' + bytes(50), b'\xff\xd8\xff', b'BM', b'II*\0',
    b'\x89PNG\r\n\x1a\n', b'RIFF\0\0\0\0WEBP', b'RIFF\0\0\0\0WAVE', b'P6 ', b'P6 9',
    b'\xff\xd8\xff\xd9' + bytes(40), b'MM\0*\0\0\0\x08' + b'\xff' * 50])
def test_not_an_image(encoded):
    with pytest.raises(ImageError):
        decode(encoded)


@pytest.mark.parametrize('kind', ['.png', '.jpg', '.bmp', '.webp', '.tiff', '.ppm'])
def test_every_truncation_is_refused(kind):
    encoded = encode(noise(), kind)
    decode(encoded)
    for length in range(len(encoded)):
        with pytest.raises(ImageError):
            decode(encoded[:length])


def test_truncated_after_the_thumbnail():
    """A thumbnail's own end marker does not make up for the missing one."""
    thumbnail = encode(noise(), '.jpg')
    app1 = b'\xff\xe1' + struct.pack('>H', len(thumbnail) + 2) + thumbnail
    whole = encode(noise(41, 43), '.jpg')
    encoded = whole[:2] + app1 + whole[2:]
    assert decode(encoded).shape == (41, 43, 3)
    with pytest.raises(ImageError, match='truncated'):
        decode(encoded[:-20])


@pytest.mark.parametrize('kind', ['.png', '.jpg'])
def test_trailing_garbage_is_tolerated(kind):
    encoded = encode(noise(), kind)
    np.testing.assert_array_equal(decode(encoded + b'camera maker notes' * 9), decode(encoded))


@pytest.mark.parametrize('filling', [b'\xff\xff', b'camera'])
def test_filling_between_jpeg_segments(filling):
    encoded = encode(noise(), '.jpg')
    second = encoded.index(b'\xff\xdb')
    np.testing.assert_array_equal(decode(encoded[:second] + filling + encoded[second:]),
                                  decode(encoded))


def png_chunk(kind, content):
    return struct.pack('>I', len(content)) + kind + content + struct.pack(
        '>I', zlib.crc32(kind + content))


def huge_png(side):
    rows = zlib.compress(bytes(1000))
    return (b'\x89PNG\r\n\x1a\n'
            + png_chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0))
            + png_chunk(b'IDAT', rows) + png_chunk(b'IEND', b''))


def huge_jpeg(side):
    encoded = bytearray(encode(noise(), '.jpg'))
    frame = encoded.index(b'\xff\xc0')
    encoded[frame + 5:frame + 9] = struct.pack('>HH', side, side)
    return bytes(encoded)


def huge_bmp(side):
    encoded = bytearray(encode(noise(), '.bmp'))
    encoded[18:26] = struct.pack('<ii', side, -side)
    return bytes(encoded)


def huge_ppm(side):
    return b'P6 %d %d 255\n' % (side, side)


def huge_tiff(side):
    entries = [struct.pack('<HHII', tag, 4, 1, side) for tag in (256, 257)]
    return b'II*\0' + struct.pack('<IH', 8, 2) + b''.join(entries) + bytes(4)


@pytest.mark.parametrize('make', [huge_png, huge_jpeg, huge_bmp, huge_ppm, huge_tiff])
def test_decompression_bomb(make):
    side = int(images.MAX_PIXELS ** 0.5) + 1
    with pytest.raises(ImageError, match='more than'):
        decode(make(side))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_raises_image_error_or_nothing(data):
    """No other exception escapes, whatever bytes are changed."""
    kinds = ['.png', '.jpg', '.bmp', '.webp', '.tiff', '.ppm']
    encoded = bytearray(encode(noise(), data.draw(st.sampled_from(kinds))))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode(bytes(encoded))
    except ImageError as error:
        assert str(error)
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
