"""From a video to a clip: which frames, which part of them, and the pixels a network eats.

Times are frame numbers. A clip is `frames` of them, `stride` apart; in a video shorter than that
the numbers go round and begin again at the first frame, so that the stride, which is the speed of
what is seen, stays what it is.
"""
import dataclasses
import math

import cv2
import numpy as np

from ..errors import UserError
from .augment import check_aspect, check_colours, check_crop_ratio, check_size, resize_short, shift_colours
from .images import normalise


def random_clip(length, frames, stride, rng):
    """int64 frame numbers of a clip at a random place in a video of `length` frames; one number is
    drawn."""
    return _from(rng.integers(max(1, length - _span(frames, stride) + 1)), length, frames, stride)


def view_clip(length, frames, stride, view=0, views=1):
    """int64 frame numbers of the clip in the middle of the `view`-th of `views` equal parts of all
    places it may have.

    So one view is the middle of the video, and many are spread evenly over it.
    """
    places = max(1, length - _span(frames, stride) + 1)
    return _from((2 * view + 1) * places // (2 * views), length, frames, stride)


def _span(frames, stride):
    return (frames - 1) * stride + 1


def _from(start, length, frames, stride):
    return (start + stride * np.arange(frames)) % length


def read_clip(video, numbers):
    """Iterate over (places in the clip, frame uint8 H×W×3), each frame of `video` decoded once;
    `VideoError`."""
    distinct, place = np.unique(numbers, return_inverse=True)
    for position, frame in enumerate(video.read(distinct.tolist())):
        yield np.flatnonzero(place == position), frame


def _check_clip(clip):
    if int(clip.frames) != clip.frames or clip.frames < 1:
        raise UserError(f'--frames must be a whole number above 0, not {clip.frames}')
    if int(clip.stride) != clip.stride or clip.stride < 0:
        raise UserError(f'--frame-stride must be a whole number, 0 or more, not {clip.stride}')


@dataclasses.dataclass(frozen=True)
class TrainClip:
    """A random clip of a video, augmented as in the authors' video code: float32
    3×frames×size×size, normalised.

    All frames of a clip get the same: they are stretched to a square, then to the aspect (width /
    height) a² where a is uniform in √`min_aspect`…√`max_aspect`, or 1/a with probability ½; resized
    so that the short side is uniform in size…`max_scale`·size; cropped at a random place; mirrored
    with probability ½; and shifted in colour as `augment.TrainTransform` shifts an image.
    Interpolation is bilinear, as there.
    """
    size: int
    frames: int
    stride: int
    max_scale: float = 288 / 224
    min_aspect: float = 0.64
    max_aspect: float = 1.5625
    mirror: bool = True
    hue: int = 15
    saturation: int = 25
    lightness: int = 35

    def __post_init__(self):
        check_size(self.size)
        _check_clip(self)
        check_aspect(self)
        check_colours(self)
        if not 1 <= self.max_scale < math.inf:
            raise UserError(f'--max-scale must be 1 or more, not {self.max_scale}')

    @property
    def shape(self):
        """(3, frames, size, size)."""
        return 3, self.frames, self.size, self.size

    def fill(self, source, index, rng, out):
        """Write a clip of video `index` of `source` into `out`, float32 of `shape`; `VideoError` if
        damaged."""
        video = source.video(index)
        numbers = random_clip(len(video), self.frames, self.stride, rng)
        box, mirrored = self._window(rng), self.mirror and rng.random() < 0.5
        clip = np.empty((self.frames, self.size, self.size, 3), np.uint8)
        for places, frame in read_clip(video, numbers):
            crop = cut(frame, box, self.size)
            clip[places] = cv2.flip(crop, 1) if mirrored else crop
        # all frames as one image, frames·size×size×3: one call for all of them
        tall = clip.reshape(-1, self.size, 3)
        clip = shift_colours(tall, self, rng).reshape(clip.shape)
        for t, frame in enumerate(clip):
            normalise(frame, out=out[:, t])

    def _window(self, rng):
        """x, y, width, height of a random crop, as shares of the frame's width and height."""
        a = rng.uniform(math.sqrt(self.min_aspect), math.sqrt(self.max_aspect))
        a = 1 / a if rng.random() < 0.5 else a
        scale = rng.uniform(1, self.max_scale)  # short side over crop side
        width, height = 1 / (scale * max(1, a * a)), 1 / (scale * max(1, 1 / (a * a)))
        return rng.uniform(0, 1 - width), rng.uniform(0, 1 - height), width, height


def cut(frame, box, size):
    """The part `box` (x, y, width, height as shares) of uint8 H×W×3, to whole pixels, resized to
    size×size×3."""
    sides = frame.shape[1], frame.shape[0]
    starts = [min(round(share * side), side - 1) for share, side in zip(box[:2], sides)]
    lengths = [
        min(max(1, round(share * side)), side - start)
        for share, side, start in zip(box[2:], sides, starts)
    ]
    (x, y), (width, height) = starts, lengths
    crop = frame[y:y + height, x:x + width]
    if (width, height) == (size, size):
        return crop
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)


@dataclasses.dataclass(frozen=True)
class EvalClip:
    """Views of a video: float32 3×frames×size×size, or crops×3×frames×size×size where `crops` is
    above 1.

    Short side to round(size / crop_ratio), bicubic, then the centre, or `crops` windows spread
    evenly along the long side. With `views` above 1, the source is a `Views` of as many.
    """
    size: int
    frames: int
    stride: int
    crop_ratio: float = 0.875
    views: int = 1
    crops: int = 1

    def __post_init__(self):
        check_size(self.size)
        _check_clip(self)
        check_crop_ratio(self.crop_ratio)
        for name in ('views', 'crops'):
            if getattr(self, name) < 1:
                raise UserError(f'--{name} must be 1 or more, not {getattr(self, name)}')

    @property
    def shape(self):
        """Of a sample: (3, frames, size, size), or with `crops` in front."""
        return (self.crops,) * (self.crops > 1) + (3, self.frames, self.size, self.size)

    def fill(self, source, index, rng, out):
        """Write view `index` of `source` into `out`, float32 of `shape`; `VideoError` if damaged;
        nothing is drawn."""
        self._fill_view(source.video(index), index % self.views,
                        out.reshape(self.crops, *self.shape[-4:]))

    def clips(self, video, mean, scale):
        """Iterate over the views of one video: float32 crops×3×frames×size×size each, normalised;
        `VideoError`."""
        for view in range(self.views):
            clips = np.empty((self.crops, *self.shape[-4:]), np.float32)
            self._fill_view(video, view, clips, mean=mean, scale=scale)
            yield clips

    def _fill_view(self, video, view, clips, **normalisation):
        for places, frame in read_clip(
                video, view_clip(len(video), self.frames, self.stride, view, self.views)):
            frame = resize_short(frame, round(self.size / self.crop_ratio))
            for window, clip in zip(self._windows(frame), clips):
                pixels = normalise(np.ascontiguousarray(window), **normalisation)  # 3×size×size
                clip[:, places] = pixels[:, None]

    def _windows(self, frame):
        room = np.array(frame.shape[:2]) - self.size
        along = np.arange(2) == (room[1] >= room[0])  # the long side, the width of a square
        for share in [0.5] if self.crops == 1 else np.linspace(0, 1, self.crops):
            y, x = (room * np.where(along, share, 0.5)).astype(int)
            yield frame[y:y + self.size, x:x + self.size]


class Views:
    """Each video of `source`, `count` times in a row: sample i is view i mod count of video i div
    count."""

    def __init__(self, source, count):
        self.source, self.count, self.classes = source, count, source.classes
        self.labels = np.repeat(source.labels, count)

    def __len__(self):
        return len(self.labels)

    def name(self, i):
        """Of the video."""
        return self.source.name(i // self.count)

    def video(self, i):
        """The video, opened."""
        return self.source.video(i // self.count)
