"""Handwritten digits in motion, as video files in the folders of Kinetics: real video to try things
out on.

The class is the way a digit moves, not which digit it is. It starts anywhere, and leaves on one
side to come back on the other. Its position in one frame therefore says nothing about the class.
Half of the videos are H.264 in MP4 and half MPEG-4 Part 2 in AVI, both with B-frames. Training and
validation use different digits.
"""
from __future__ import annotations

import math
import os

import cv2
import numpy as np
from tqdm import tqdm

from .cache import made_once
from .digits import load_digits, part_indices
from .listing import files_below
from .video import import_av, open_file

# alphabetical, as folders are
CLASSES = ('anticlockwise', 'clockwise', 'down', 'left', 'right', 'up')
COUNTS = {'train': 960, 'val': 120}
FRAMES, SIDE = 40, 32
_DIGIT = 16  # pixels, of 32
# A constant quantizer: x264's rate control decides differently from run to run on such pictures.
FORMATS = (('.mp4', 'libx264', {'qp': '18', 'bf': '2', 'g': '16'}),
            ('.avi', 'mpeg4', {'qscale': '3', 'flags': '+qscale', 'bf': '2', 'g': '16'}))


def moving_digits_folder(cache: str | os.PathLike | None = None) -> str:
    """Path of a folder `train/<class>/*` and `val/<class>/*` of video files, which is written the
    first time; see `cache.made_once`. `UserError` where PyAV is missing."""
    return made_once('moving-digits', _write, cache, COUNTS, lambda folder, part: sum(
        1 for _ in files_below(os.path.join(folder, part))))


def _write(folder):
    images, _ = load_digits()
    with tqdm(total=sum(COUNTS.values()), desc='writing videos of moving digits', unit='video',
              disable=None) as bar:
        for number, (part, count) in enumerate(COUNTS.items()):
            rng, indices = np.random.default_rng(number), part_indices(part, len(images))
            for i in range(count):
                motion, (ending, codec, options) = CLASSES[i % 6], FORMATS[i // 6 % 2]
                path = os.path.join(folder, part, motion, f'{i:03d}{ending}')
                os.makedirs(os.path.dirname(path), exist_ok=True)
                write_video(path, frames_of(images[rng.choice(indices)], motion, rng), codec,
                            options)
                bar.update()


def frames_of(digit: np.ndarray, motion: str, rng: np.random.Generator) -> np.ndarray:
    """uint8 FRAMES×SIDE×SIDE×3 of a digit (8×8, values 0…16) in motion, from a random position at a
    random speed."""
    grey = cv2.resize(digit * (255 / 16), (_DIGIT, _DIGIT), interpolation=cv2.INTER_CUBIC)
    canvas = np.zeros((SIDE, SIDE), np.float32)
    canvas[:_DIGIT, :_DIGIT] = grey.clip(0, 255)
    tiles = np.tile(canvas, (3, 3))
    x, y = (rng.uniform(0, SIDE) + way for way in _way(motion, rng))  # float64 FRAMES each
    frames = [cv2.warpAffine(tiles, np.array([[1, 0, right], [0, 1, down]]), (SIDE, SIDE))
              for right, down in zip(x % SIDE - SIDE, y % SIDE - SIDE)]
    return np.round(frames).astype(np.uint8)[..., None].repeat(3, axis=-1)


def _way(motion, rng):
    """Displacements in pixels, to the right and down, float64 FRAMES each."""
    time, speed = np.arange(FRAMES), rng.uniform(1, 2)
    if motion in ('clockwise', 'anticlockwise'):
        radius, sign = SIDE / 5, 1 if motion == 'clockwise' else -1  # y grows downward
        angle = rng.uniform(0, 2 * math.pi) + sign * speed / radius * time
        return radius * np.cos(angle), radius * np.sin(angle)
    right, down = {'left': (-1, 0), 'right': (1, 0), 'up': (0, -1), 'down': (0, 1)}[motion]
    return right * speed * time, down * speed * time


def write_video(path: str, frames: np.ndarray, codec: str, options: dict[str, str] | None = None,
                rate: int = 25) -> None:
    """Write uint8 T×H×W×3 RGB as a video file; the container follows the name. UserError where PyAV
    is missing."""
    av = import_av()
    with open_file(path, 'w') as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.codec_context.thread_count = 'yuv420p', 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
