"""Random crops, mirrors and colour shifts of training images and clips.

`TrainTransform` is the augmentation of the Dual Path Networks code, which the paper's code is based
on; `TrainClip` is that of the authors' video code.
"""
from __future__ import annotations

import dataclasses
import math
from typing import Any

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

    `preprocessing` gives size, interpolation and normalisation. The crop covers a uniformly drawn
    share of the image's area, `min_area`…`max_area`, at an aspect (width / height) drawn uniformly
    in its logarithm from `min_aspect`…`max_aspect`; it is resized and mirrored with probability ½.
    One whole number each, uniform in ±`hue`, ±`lightness`, ±`saturation`, is then added to every
    pixel of the channels of OpenCV's 8-bit HLS, the scale of ImageRecordIter's `random_h`,
    `random_l` and `random_s`: hue counts steps of 2° (0…179), lightness and saturation are 0…255.
    Lightness and saturation are clipped. Hue wraps around, where ImageRecordIter clips it.
    """
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


@dataclasses.dataclass(frozen=True)
class TrainClip(_Augmentation):
    """A random clip of a video, augmented as in the authors' video code: float32
    3×frames×size×size, normalised.

    `preprocessing` gives frames, stride, size and normalisation. All frames of a clip get the same:
    they are stretched to a square, then to the aspect (width / height) a² where a is uniform in
    √`min_aspect`…√`max_aspect`, or 1/a with probability ½; resized so that the short side is
    uniform in size…`max_scale`·size; cropped at a random position; mirrored with probability ½; and
    shifted in colour as `TrainTransform` shifts an image. Interpolation is bilinear, as there.
    """
    preprocessing: ClipPreprocessing
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
        numbers = random_clip(len(video), given.frames, given.frame_stride, rng)
        box, mirrored = self._window(rng), self.mirror and rng.random() < 0.5
        clip = np.empty((given.frames, given.size, given.size, 3), np.uint8)
        for positions, frame in read_clip(video, numbers):
            crop = cut(frame, box, given.size)
            clip[positions] = cv2.flip(crop, 1) if mirrored else crop
        # all frames as one image, frames·size×size×3: one call for all of them
        tall = clip.reshape(-1, given.size, 3)
        clip = shift_colours(tall, self, rng).reshape(clip.shape)
        for t, frame in enumerate(clip):
            given.normalise(frame, out[:, t])

    def _window(self, rng):
        """x, y, width, height of a random crop, as shares of the frame's width and height."""
        a = rng.uniform(math.sqrt(self.min_aspect), math.sqrt(self.max_aspect))
        a = 1 / a if rng.random() < 0.5 else a
        scale = rng.uniform(1, self.max_scale)  # short side over crop side
        width, height = 1 / (scale * max(1, a * a)), 1 / (scale * max(1, 1 / (a * a)))
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
    """uint8 H×W×3 RGB with one shift each, within ±`limits`.hue, .lightness, .saturation, as
    `TrainTransform` describes."""
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
