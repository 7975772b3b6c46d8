"""Odd images decode to the right pixels; what is no whole image is refused with a reason."""
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

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


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'WEBP'])
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
    np.testing.assert_array_equal(decode(pillow(Image.fromarray(image, 'RGBA'), 'PNG')),
                                  image[:, :, :3])


def test_palette_png():
    image = Image.fromarray(smooth()).quantize(16)
    np.testing.assert_array_equal(decode(pillow(image, 'PNG')), np.asarray(image.convert('RGB')))


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


@pytest.mark.parametrize('encoded', [b'', b'\0', b'<html>404</html>', b'GIF89a' + bytes(50), b'\xff\xd8\xff',
                                     b'\x89PNG\r\n\x1a\n', b'BM', b'RIFF\0\0\0\0WEBP', b'\xff\xd8\xff\xd9' + bytes(40)])
def test_not_an_image(encoded):
    with pytest.raises(ImageError):
        decode(encoded)


@pytest.mark.parametrize('kind', ['.png', '.jpg', '.bmp', '.webp'])
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


@pytest.mark.parametrize('make', [huge_png, huge_jpeg, huge_bmp])
def test_decompression_bomb(make):
    side = int(images.MAX_PIXELS ** 0.5) + 1
    with pytest.raises(ImageError, match='more than'):
        decode(make(side))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_raises_image_error_or_nothing(data):
    """No other exception escapes, whatever bytes are changed."""
    encoded = bytearray(
        encode(noise(), data.draw(st.sampled_from(['.png', '.jpg', '.bmp', '.webp']))))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode(bytes(encoded))
    except ImageError as error:
        assert str(error)
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
