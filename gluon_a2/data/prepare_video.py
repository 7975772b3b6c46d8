"""Checking and shrinking videos; `gluon-a2 prepare-video` is its command line."""
from __future__ import annotations

import collections
import contextlib
import functools
import os
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import UserError
from .images import ImageError
from .parallel import in_parallel
from .video import FrameFolder, VideoFile, import_av, open_file, open_video
from .video_lists import UCF101_COUNTS, VideoSource

COLUMNS = ['part', 'videos', 'unreadable', 'classes', 'per class', 'frames', 'per video']


class Found(NamedTuple):
    """What is known of a video: its frames and '', or 0 and a reason."""
    path: str
    label: int
    frames: int
    reason: str


def check(source: VideoSource, jobs: int = 1, decode: bool = False) -> list[Found]:
    """A `Found` for each video: opened, and with `decode` every frame of it decoded."""
    work = functools.partial(_examine, source, decode)
    return list(in_parallel(work, range(len(source)), jobs, 'checking', 'video', chunk=4))


def _examine(source: VideoSource, decode: bool, i: int) -> Found:
    known = source.name(i), int(source.labels[i])
    try:
        video = source.video(i)
        if decode:
            collections.deque(video.read(range(len(video))), maxlen=0)
        return Found(*known, len(video), '')
    except ImageError as error:
        return Found(*known, 0, str(error))


def describe(name: str, source: VideoSource, found: list[Found]) -> list:
    """The row of a table under `COLUMNS`: what part `name` holds."""
    lengths = [video.frames for video in found if not video.reason]
    per_class = np.bincount(source.labels, minlength=len(source.classes))
    return [name, len(found), len(found) - len(lengths), len(source.classes),
            f'{per_class.min()}…{per_class.max()}', sum(lengths),
            f'{min(lengths, default=0)}…{max(lengths, default=0)}']


def official(split: int, counts: tuple[int, int]) -> str:
    """One sentence on the numbers of training and test clips, beside those of UCF-101's split."""
    whole, clips = UCF101_COUNTS[split], f'{counts[0]} training and {counts[1]} test clips'
    if counts == whole:
        return f'split {split} of UCF-101 is whole: {clips}'
    return f'split {split} of UCF-101 has {clips} here, and {whole[0]} and {whole[1]} officially'


def transcode(source: VideoSource, root: str, out: str, short_side: int = 288,
              jobs: int = 1) -> list[Found]:
    """Write every video as H.264 into `out`, its path from `root` on kept; a `Found` for each that
    failed.

    The short side becomes `short_side`, where it is longer; sides are even. Frames are as many as
    before, at the times they had, turned as they are to be shown; sound is dropped. What is there
    already is left as it is; so are folders of frames. Nothing half done is ever seen.
    """
    if os.path.abspath(root) == os.path.abspath(out):
        raise UserError(f'{out} is where the videos are: choose another folder')
    stems = [os.path.splitext(os.path.relpath(path, root))[0] for path in source.paths]
    first = {stem: i for i, stem in reversed(list(enumerate(stems)))}
    twice = {i: source.name(first[stem]) for i, stem in enumerate(stems) if first[stem] != i}
    work = functools.partial(_transcode_one, source, stems, twice, out, short_side)
    results = in_parallel(work, range(len(source)), jobs, 'transcoding', 'video', chunk=4)
    return [Found(source.name(i), int(source.labels[i]), 0, reason)
            for i, reason in enumerate(results) if reason]


def _transcode_one(source: VideoSource, stems: list[str], twice: dict[int, str], out: str,
                   short_side: int, i: int) -> str:
    """'' or the reason why not."""
    if stems[i].startswith(os.pardir):
        return 'it lies outside of the folder of the videos'
    if i in twice:
        return f'its name differs from {twice[i]} in nothing but the ending'
    target = os.path.join(out, stems[i] + '.mp4')
    if os.path.exists(target) or os.path.isdir(source.paths[i]):
        return ''
    folder, name = os.path.split(target)
    os.makedirs(folder, exist_ok=True)
    draft = os.path.join(folder, f'.{name[:-4]}.{os.getpid()}.mp4')
    try:
        video = source.video(i)
        _write(video, draft, short_side)
        written = len(open_video(draft, cache=os.devnull))
        if written != len(video):
            return f'{written} of its {len(video)} frames were written'
        os.replace(draft, target)
    except ImageError as error:
        return str(error)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
    return ''


def _write(video: FrameFolder | VideoFile, path: str, short_side: int) -> None:
    av = import_av()
    assert isinstance(video, VideoFile)
    times, unit, rate = video.timing()
    with open_file(path, 'w') as container:
        stream = container.add_stream('libx264', rate=rate, options={'crf': '18', 'g': '32',
                                                                     'preset': 'fast'})
        stream.pix_fmt, stream.codec_context.thread_count = 'yuv420p', 1
        stream.codec_context.time_base = unit
        for number, pixels in enumerate(video.read(range(len(video)))):
            pixels = _shrink(pixels, short_side)
            if number == 0:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            frame.pts, frame.time_base = times[number] - times[0], unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _shrink(pixels: np.ndarray, short_side: int) -> np.ndarray:
    """uint8 H×W×3 with even sides, the short one not above `short_side`."""
    height, width = pixels.shape[:2]
    scale = min(1, short_side / min(height, width))
    height, width = (max(2, round(side * scale / 2) * 2) for side in (height, width))
    if pixels.shape[:2] == (height, width):
        return pixels
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
