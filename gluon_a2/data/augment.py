"""Random crops, mirrors and colour shifts of training images and clips, drawn as the authors' codes
draw them, or evenly."""
from __future__ import annotations

import dataclasses
import math
from typing import Any, Tuple

import cv2
import numpy as np

from .. import flags
from ..errors import UserError
from ..flags import option
from .clips import random_clip, read_clip
from .images import decode
from .preprocess import ClipPreprocessing, Preprocessing

_ATTEMPTS = 10  # random crops drawn before a small or narrow image gets its centre crop


@dataclasses.dataclass(frozen=True)
class _Augmentation:
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        flags.check(self)
        for name in ('area', 'aspect'):
            low, high = getattr(self, f'min_{name}', 0), getattr(self, f'max_{name}', 0)
            if low > high:
                raise UserError(f'`min_{name}` must be at most `max_{name}`, not {low} and {high}')

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample in the loader: that of the preprocessing."""
        return self.preprocessing.input_shape


@dataclasses.dataclass(frozen=True)
class TrainTransform(_Augmentation):
    """Random crop, mirror and colour shift: uint8 H×W×3 RGB → uint8 size×size×3.

    `preprocessing` gives size, interpolation and normalisation. The crop is resized and mirrored
    with probability ½. Then every pixel is shifted by whole numbers within ±`hue`, ±`lightness` and
    ±`saturation`. The shifts are of OpenCV's 8-bit HLS, as in ImageRecordIter's `random_h`,
    `random_l` and `random_s`. Hue counts steps of 2° (0…179). Lightness and saturation are 0…255
    and clipped. `draws` names the distributions:

    - 'uniform': the crop covers a uniform share of the image's area, `min_area`…`max_area`, at an
      aspect (width / height) uniform in its logarithm from `min_aspect`…`max_aspect`, as in MXNet's
      `image.random_size_crop`. Shifts are uniform. Hue wraps around, where ImageRecordIter clips.
    - 'dpn': as `aug_torch` does in the Dual Path Networks' MXNet (cypw/mxnet-old,
      src/io/image_aug_torch.cc). The image's width is stretched by r and its height by 1/r, or the
      other way round with probability ½. Here r is the mean of two uniform draws from
      `min_aspect`…`max_aspect`. The crop is a square of this, of a uniform share,
      `min_area`…`max_area`, of its short side squared. A shift is its limit times
      2(u₁ + 4u₂)/5 − 1, u uniform in 0…1, cut to a whole number. Hue is clipped to 0…180, where
      both ends are red. There the image is resized twice, here the crop once.
    """
    draws: str = option('uniform', 'distributions of crops and shifts', choices=('uniform', 'dpn'))
    min_area: float = option(0.08, 'share of the area, at least', above=0, high=1)
    max_area: float = option(1.0, 'share of the area, at most', above=0, high=1)
    min_aspect: float = option(3 / 4, 'width over height, at least', above=0)
    max_aspect: float = option(4 / 3, 'width over height, at most', above=0)
    mirror: bool = option(True, 'mirror half of the images')
    hue: int = option(20, 'largest shift, in steps of 2°', low=0, high=90)
    saturation: int = option(40, 'largest shift, of 255', low=0, high=255)
    lightness: int = option(50, 'largest shift, of 255', low=0, high=255)

    def fill(self, source: Any, index: int, rng: np.random.Generator, out: np.ndarray) -> None:
        """Write image `index` of `source`, augmented and normalised, into `out`, float32 of
        `shape`; `ImageError` if it is damaged."""
        self.preprocessing.normalise(self(decode(source.read(index)), rng), out)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw from `rng` and apply."""
        x, y, width, height = self._crop_box(image.shape[1], image.shape[0], rng)
        size = self.preprocessing.size
        image = self.preprocessing.resize(image[y:y + height, x:x + width], size, size)
        if self.mirror and rng.random() < 0.5:
            image = cv2.flip(image, 1)
        return shift_colours(image, self, rng)

    def _crop_box(self, width, height, rng):
        """x, y, width and height of a random crop that lies inside the image."""
        if self.draws == 'dpn':
            return self._stretched_box(width, height, rng)
        low, high = math.log(self.min_aspect), math.log(self.max_aspect)
        for _ in range(_ATTEMPTS):
            area = width * height * rng.uniform(self.min_area, self.max_area)
            aspect = math.exp(rng.uniform(low, high))
            crop_width = round(math.sqrt(area * aspect))
            crop_height = round(math.sqrt(area / aspect))
            if 0 < crop_width <= width and 0 < crop_height <= height:
                x, y = rng.integers((width - crop_width + 1, height - crop_height + 1)).tolist()
                return x, y, crop_width, crop_height
        aspect = min(max(width / height, self.min_aspect), self.max_aspect)
        crop_width = max(1, min(width, round(height * aspect)))
        crop_height = max(1, min(height, round(width / aspect)))
        return (width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height

    def _stretched_box(self, width, height, rng):
        """The same as `draws` 'dpn' has it, in pixels of the image as it was."""
        r = rng.uniform(self.min_aspect, self.max_aspect, 2).mean()
        r = 1 / r if rng.random() < 0.5 else r
        side = min(width * r, height / r) * math.sqrt(rng.uniform(self.min_area, self.max_area))
        crop_width, crop_height = max(1, round(side / r)), max(1, round(side * r))
        x, y = rng.integers((width - crop_width + 1, height - crop_height + 1)).tolist()
        return x, y, crop_width, crop_height


@dataclasses.dataclass(frozen=True)
class TrainClip(_Augmentation):
    """A random clip of a video, augmented as in the authors' video code: float32
    3×frames×size×size, normalised.

    `preprocessing` gives frames, stride, size and normalisation, and says whether frames are
    stretched to a square. The stride is one of `train_strides`, all as likely, where there are any.
    All frames of a clip get the same. They are stretched, their width by a and their height by 1/a,
    where a is uniform in √`min_aspect`…√`max_aspect`, or that of 1/a with probability ½. They are
    resized so that the short side is uniform in size…`max_scale`·size, and cropped at a random
    position. They are mirrored with probability ½, and shifted in colour. Interpolation is
    bilinear.

    All this is as in the authors' PyTorch-MFNet (data/image_transforms.py, data/video_sampler.py).
    `draws` 'mfnet' shifts colours as there, too: a shift is uniform in ±limit and rounded, and hue
    is clipped to 0…180. With 'uniform' it is one of the whole numbers within ±limit, all as
    likely, and hue wraps around.
    """
    preprocessing: ClipPreprocessing
    draws: str = option('uniform', 'distribution of shifts', choices=('uniform', 'mfnet'))
    # Python 3.8 has no tuple[int, ...], and flags.check reads the type
    train_strides: Tuple[int, ...] = option((), 'strides to draw from', low=0)  # noqa: UP006
    max_scale: float = option(288 / 224, 'short side over the crop\'s side, at most', low=1)
    min_aspect: float = option(0.64, 'width over height, at least', above=0)
    max_aspect: float = option(1.5625, 'width over height, at most', above=0)
    mirror: bool = option(True, 'mirror half of the clips')
    hue: int = option(15, 'largest shift, in steps of 2°', low=0, high=90)
    saturation: int = option(25, 'largest shift, of 255', low=0, high=255)
    lightness: int = option(35, 'largest shift, of 255', low=0, high=255)

    def fill(self, source: Any, index: int, rng: np.random.Generator, out: np.ndarray) -> None:
        """Write a clip of video `index` of `source`, augmented and normalised, into `out`, float32
        of `shape`; `VideoError` if it is damaged."""
        given, video = self.preprocessing, source.video(index)
        stride = rng.choice(self.train_strides) if self.train_strides else given.frame_stride
        numbers = random_clip(len(video), given.frames, stride, rng)
        clip = np.empty((given.frames, given.size, given.size, 3), np.uint8)
        box, mirrored = None, False
        for positions, frame in read_clip(video, numbers):
            if box is None:
                box = self._window(rng, given.proportions(frame))
                mirrored = self.mirror and rng.random() < 0.5
            crop = cut(frame, box, given.size)
            clip[positions] = cv2.flip(crop, 1) if mirrored else crop
        # all frames as one image, frames·size×size×3: one call for all of them
        tall = clip.reshape(-1, given.size, 3)
        clip = shift_colours(tall, self, rng).reshape(clip.shape)
        for t, frame in enumerate(clip):
            given.normalise(frame, out[:, t])

    def _window(self, rng, proportions=1.0):
        """x, y, width, height of a random crop, as shares of the frame's width and height, whose
        quotient is `proportions`."""
        a = rng.uniform(math.sqrt(self.min_aspect), math.sqrt(self.max_aspect))
        a = 1 / a if rng.random() < 0.5 else a
        scale = rng.uniform(1, self.max_scale)  # short side over crop side
        aspect = a * a * proportions
        width, height = 1 / (scale * max(1, aspect)), 1 / (scale * max(1, 1 / aspect))
        return rng.uniform(0, 1 - width), rng.uniform(0, 1 - height), width, height


def cut(frame: np.ndarray, box: tuple[float, float, float, float], size: int) -> np.ndarray:
    """The part `box` (x, y, width, height as shares) of uint8 H×W×3, to whole pixels, resized to
    size×size×3."""
    sides = frame.shape[1], frame.shape[0]
    x, y = (min(round(share * side), side - 1) for share, side in zip(box[:2], sides))
    width, height = (min(max(1, round(share * side)), side - start)
                     for share, side, start in zip(box[2:], sides, (x, y)))
    crop = frame[y:y + height, x:x + width]
    if (width, height) == (size, size):
        return crop
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)


def shift_colours(image: np.ndarray, limits: Any, rng: np.random.Generator) -> np.ndarray:
    """uint8 H×W×3 RGB with one shift each, within ±`limits`.hue, .lightness, .saturation, drawn as
    `limits`.draws says; see `TrainTransform` and `TrainClip`."""
    # in OpenCV's order: H, L, S
    bounds = np.array((limits.hue, limits.lightness, limits.saturation))
    if not bounds.any():
        return image
    shift = _SHIFTS[limits.draws](bounds, rng)
    values = np.arange(256)[:, None] + shift  # 256×3: what each byte becomes, per channel
    table = values.clip(0, (180, 255, 255))
    if limits.draws == 'uniform':
        table[:, 0] = values[:, 0] % 180
    hls = cv2.cvtColor(image, cv2.COLOR_RGB2HLS)
    return cv2.cvtColor(cv2.LUT(hls, table.astype(np.uint8)[None]), cv2.COLOR_HLS2RGB)


def _central(bounds, rng):
    first, second = rng.random((2, len(bounds)))
    return np.trunc((2 * (first + 4 * second) / 5 - 1) * bounds).astype(int)


_SHIFTS = {'uniform': lambda bounds, rng: rng.integers(-bounds, bounds + 1), 'dpn': _central,
           'mfnet': lambda bounds, rng: np.rint(rng.uniform(-bounds, bounds)).astype(int)}
