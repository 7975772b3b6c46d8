"""What happens to one image between decoding and normalising, in training and in evaluation.

`TrainTransform` is the augmentation of the Dual Path Networks code, which the paper's code is based
on.
"""
import dataclasses
import math

import cv2
import numpy as np

from ..errors import UserError
from .images import decode, normalise

_ATTEMPTS = 10  # random crops drawn before a small or narrow image gets its centre crop
_MAX_ASPECT = 16  # EvalTransform keeps no more of an image than this many times its short side


class ImageTransform:
    """What a transform is to the loader: the `shape` of a sample, and how one is made from a
    source.

    Subclasses have `size`, and take uint8 H×W×3 RGB to uint8 size×size×3 when called.
    """

    @property
    def shape(self):
        """(3, size, size)."""
        return 3, self.size, self.size

    def fill(self, source, index, rng, out):
        """Write image `index` of `source`, normalised, into `out`, float32 3×size×size;
        `ImageError` if damaged."""
        normalise(self(decode(source.read(index)), rng), out=out)


@dataclasses.dataclass(frozen=True)
class TrainTransform(ImageTransform):
    """Random crop, mirror and colour shift: uint8 H×W×3 RGB → uint8 size×size×3.

    The crop covers a uniformly drawn share of the image's area, `min_area`…`max_area`, at an aspect
    (width / height) drawn uniformly in its logarithm from `min_aspect`…`max_aspect`; it is resized
    bicubically and mirrored with probability ½. One whole number each, uniform in ±`hue`,
    ±`lightness`, ±`saturation`, is then added to every pixel of the channels of OpenCV's 8-bit HLS,
    the scale of ImageRecordIter's `random_h`, `random_l` and `random_s`: hue counts steps of 2°
    (0…179), lightness and saturation are 0…255. Lightness and saturation are clipped. Hue wraps
    around, where ImageRecordIter clips it.
    """
    size: int
    min_area: float = 0.08
    max_area: float = 1.0
    min_aspect: float = 3 / 4
    max_aspect: float = 4 / 3
    mirror: bool = True
    hue: int = 20
    saturation: int = 40
    lightness: int = 50

    def __post_init__(self):
        check_size(self.size)
        if not 0 < self.min_area <= self.max_area <= 1:
            raise UserError('a crop\'s share of the area must satisfy 0 < min_area <= max_area <= '
                            f'1, not {self.min_area} and {self.max_area}')
        check_aspect(self)
        check_colours(self)

    def __call__(self, image, rng):
        """Draw from `rng` (`numpy.random.Generator`) and apply."""
        x, y, width, height = self._crop_box(image.shape[1], image.shape[0], rng)
        image = _resize(image[y:y + height, x:x + width], self.size, self.size)
        if self.mirror and rng.random() < 0.5:
            image = cv2.flip(image, 1)
        return shift_colours(image, self, rng)

    def _crop_box(self, width, height, rng):
        """x, y, width and height of a random crop that lies inside the image."""
        low, high = math.log(self.min_aspect), math.log(self.max_aspect)
        for _ in range(_ATTEMPTS):
            area = width * height * rng.uniform(self.min_area, self.max_area)
            aspect = math.exp(rng.uniform(low, high))
            crop_width, crop_height = round(math.sqrt(area * aspect)), round(
                math.sqrt(area / aspect))
            if 0 < crop_width <= width and 0 < crop_height <= height:
                x, y = rng.integers((width - crop_width + 1, height - crop_height + 1)).tolist()
                return x, y, crop_width, crop_height
        aspect = min(max(width / height, self.min_aspect), self.max_aspect)
        crop_width = max(1, min(width, round(height * aspect)))
        crop_height = max(1, min(height, round(width / aspect)))
        return (width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height


@dataclasses.dataclass(frozen=True)
class EvalTransform(ImageTransform):
    """Short side to round(size / crop_ratio), bicubic, then the centre: uint8 H×W×3 → uint8
    size×size×3."""
    size: int
    crop_ratio: float = 0.875

    def __post_init__(self):
        check_size(self.size)
        check_crop_ratio(self.crop_ratio)

    def __call__(self, image, rng=None):
        """`rng` is there for the loader, which calls every transform alike; nothing is drawn."""
        image = resize_short(image, round(self.size / self.crop_ratio))
        y, x = ((side - self.size) // 2 for side in image.shape[:2])
        return np.ascontiguousarray(image[y:y + self.size, x:x + self.size])


def _trim(image):
    """The middle of an image of absurd aspect, which resizing would blow up: 1×9999 to 256×2559744
    pixels.

    What is kept reaches far beyond the centre crop, whose pixels stay the same.
    """
    limit = _MAX_ASPECT * min(image.shape[:2])
    y, x = (max(0, side - limit) // 2 for side in image.shape[:2])
    return image[y:image.shape[0] - y, x:image.shape[1] - x]


def shift_colours(image, limits, rng):
    """uint8 H×W×3 RGB with one shift each, within ±`limits`.hue, .lightness, .saturation, as
    `TrainTransform` tells."""
    # in OpenCV's order: H, L, S
    bounds = np.array((limits.hue, limits.lightness, limits.saturation))
    if not bounds.any():
        return image
    shift = rng.integers(-bounds, bounds + 1)
    values = np.arange(256)[:, None] + shift  # 256×3: what each byte becomes, per channel
    table = values.clip(0, 255)
    table[:, 0] = values[:, 0] % 180
    hls = cv2.cvtColor(image, cv2.COLOR_RGB2HLS)
    return cv2.cvtColor(cv2.LUT(hls, table.astype(np.uint8)[None]), cv2.COLOR_HLS2RGB)


def resize_short(image, short):
    """The image with its short side resized to `short`, bicubically."""
    image = _trim(image)
    height, width = image.shape[:2]
    new_width = max(short, round(width * short / min(height, width)))
    new_height = max(short, round(height * short / min(height, width)))
    return _resize(image, new_width, new_height)


def check_size(size):
    """UserError unless crops can have this side."""
    if int(size) != size or size < 1:
        raise UserError(f'the input size (--input-size) must be a whole number above 0, not {size}')


def check_crop_ratio(ratio):
    """UserError unless a crop can be this share of the short side."""
    if not 0 < ratio <= 1:
        raise UserError(f'the crop ratio (--crop-ratio) must be above 0 and at most 1, not {ratio}')


def check_aspect(transform):
    """UserError unless `min_aspect` and `max_aspect` are a range."""
    if not 0 < transform.min_aspect <= transform.max_aspect < math.inf:
        raise UserError(f'a crop\'s aspect must satisfy 0 < min_aspect <= max_aspect, '
                        f'not {transform.min_aspect} and {transform.max_aspect}')


def check_colours(transform):
    """UserError unless `hue`, `saturation` and `lightness` are shifts that bytes can take."""
    for name, limit in (('hue', 90), ('saturation', 255), ('lightness', 255)):
        value = getattr(transform, name)
        if int(value) != value or not 0 <= value <= limit:
            raise UserError(f'{name} must be a whole number from 0 to {limit}, not {value}')


def _resize(image, width, height):
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
