"""Which frames of a video make a clip.

A clip is `frames` frame numbers, `stride` apart. In a shorter video the numbers begin again at
the first frame. So the stride, which is the speed of what is seen, stays what it is.
"""
from __future__ import annotations

from typing import Any, Iterator

import numpy as np


def random_clip(length: int, frames: int, stride: int, rng: np.random.Generator) -> np.ndarray:
    """int64 frame numbers of a clip at a random position in a video of `length` frames; one number
    is drawn."""
    return _from(rng.integers(_positions(length, frames, stride)), length, frames, stride)


def view_clip(length: int, frames: int, stride: int, view: int = 0, views: int = 1) -> np.ndarray:
    """int64 frame numbers of the clip in the middle of the `view`-th of `views` equal parts of all
    positions it may have.

    One view is the middle of the video; many are spread evenly over it.
    """
    start = (2 * view + 1) * _positions(length, frames, stride) // (2 * views)
    return _from(start, length, frames, stride)


def _positions(length, frames, stride):
    return max(1, length - (frames - 1) * stride)


def _from(start, length, frames, stride):
    return (start + stride * np.arange(frames)) % length


def read_clip(video: Any, numbers: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Iterate over (positions in the clip, frame uint8 H×W×3); each frame of `video` is decoded
    once; `VideoError`."""
    distinct, position = np.unique(numbers, return_inverse=True)
    for i, frame in enumerate(video.read(distinct.tolist())):
        yield np.flatnonzero(position == i), frame


class Views:
    """Each video of `source`, `count` times in a row: sample i is view i mod count of video i div
    count."""

    def __init__(self, source: Any, count: int) -> None:
        self.source, self.count, self.classes = source, count, source.classes
        self.labels = np.repeat(source.labels, count)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, i: int) -> str:
        return self.source.name(i // self.count)

    def video(self, i: int) -> Any:
        return self.source.video(i // self.count)
