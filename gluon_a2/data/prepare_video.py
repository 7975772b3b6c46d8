"""Checking, listing and shrinking videos; `scripts/prepare_video.py` is its command line."""
import collections
import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import signal

import cv2
import numpy as np
from tqdm import tqdm

from ..errors import UserError
from ..files import write_whole
from .classes import CLASSES_FILE
from .images import ImageError
from .parallel import begin_worker
from .video import FrameFolder, VideoError, open_video
from .video_lists import UCF101_COUNTS

# frames 0 and a reason, or frames and ''
Found = collections.namedtuple('Found', 'path label frames reason')


def check(source, jobs=1, decode=False):
    """A `Found` for each video of a `VideoSource`: opened, and with `decode` every frame of it
    decoded."""
    results = _in_parallel(functools.partial(_examine, source, decode), len(source), jobs,
                           'checking')
    return [
        Found(source.name(i), int(source.labels[i]), *result) for i, result in enumerate(results)
    ]


def _examine(source, decode, i):
    """(frames, '') or (0, reason)."""
    try:
        video = source.video(i)
        if decode:
            collections.deque(video.read(range(len(video))), maxlen=0)
    except ImageError as error:
        return 0, str(error)
    return len(video), ''


def describe(name, source, found):
    """The row of a table: what part `name` holds."""
    good, per_class = [video for video in found if not video.reason], np.bincount(
        source.labels, minlength=len(source.classes))
    lengths = [video.frames for video in good] or [0]
    return [
        name,
        len(found),
        len(found) - len(good),
        len(source.classes), f'{per_class.min()}…{per_class.max()}',
        sum(lengths), f'{min(lengths)}…{max(lengths)}'
    ]


COLUMNS = ['part', 'videos', 'unreadable', 'classes', 'per class', 'frames', 'per video']


def official(split, counts):
    """One sentence that compares the numbers of training and test clips with those of the official
    split of UCF-101."""
    if counts == UCF101_COUNTS[split]:
        return f'split {split} of UCF-101 is whole: {counts[0]} training and {counts[1]} test clips'
    return (f'split {split} of UCF-101 has {counts[0]} training and {counts[1]} test clips here, '
            f'and {UCF101_COUNTS[split][0]} and {UCF101_COUNTS[split][1]} officially')


def write_list(source, path, root=''):
    """Write the videos as a list 'path label', paths from `root` on, and classes.txt beside it,
    whole or not at all."""
    for name in source.classes:
        if len(name.splitlines()) != 1:
            raise UserError(f'a class name must be one line: rename {name!r}')
    lines = [f'{os.path.relpath(source.name(i), root) if root else source.name(i)} '
             f'{source.labels[i]}\n'
             for i in range(len(source))]
    names = ''.join(name + '\n' for name in source.classes)
    folder = os.path.dirname(os.path.abspath(path))
    write_whole(os.path.join(folder, CLASSES_FILE), names.encode('utf-8', 'surrogateescape'))
    write_whole(path, ''.join(lines).encode('utf-8', 'surrogateescape'))


def transcode(source, root, out, short_side=288, jobs=1):
    """Write every video of `source` as H.264 into `out`, its path from `root` on kept; [`Found`] of
    what failed.

    The short side becomes `short_side`, where it is longer; sides are even. Frames are as many as
    before, at the times they had, turned as they are to be shown; sound is dropped. What is there
    already is left as it is; so are folders of frames. Nothing half done is ever seen.
    """
    if short_side < 2:
        raise UserError(f'--short-side must be 2 or more, not {short_side}')
    if os.path.abspath(root) == os.path.abspath(out):
        raise UserError(f'--transcode {out} is where the videos are: choose another folder')
    work = functools.partial(_transcode_one, source, root, out, short_side)
    results = _in_parallel(work, len(source), jobs, 'transcoding')
    return [
        Found(source.name(i), int(source.labels[i]), 0, reason) for i, reason in enumerate(results)
        if reason
    ]


def _transcode_one(source, root, out, short_side, i):
    """'' or the reason why not."""
    relative = os.path.splitext(os.path.relpath(source.name(i), root))[0]
    if relative.startswith(os.pardir):
        return f'it lies outside of {root}'
    target = os.path.join(out, relative + '.mp4')
    if os.path.exists(target) or os.path.isdir(source.name(i)):
        return ''
    os.makedirs(os.path.dirname(target), exist_ok=True)
    draft = os.path.join(os.path.dirname(target),
                         f'.{os.path.basename(relative)}.{os.getpid()}.mp4')
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


def _write(video, path, short_side):
    import av
    if isinstance(video, FrameFolder):
        raise VideoError('it is a folder of frames')
    times, unit, rate = video.timing()
    with av.open(path, 'w') as container:
        stream = container.add_stream('libx264', rate=rate, options={
            'crf': '18', 'preset': 'fast', 'g': '32'
        })
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


def _shrink(pixels, short_side):
    """uint8 H×W×3 with even sides, the short one not above `short_side`."""
    height, width = pixels.shape[:2]
    scale = min(1, short_side / min(height, width))
    height, width = (max(2, round(side * scale / 2) * 2) for side in (height, width))
    if pixels.shape[:2] == (height, width):
        return pixels
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def _in_parallel(work, count, jobs, describe):
    """Results of work(0) … work(count − 1) in order, by `jobs` processes, with a progress bar."""
    if jobs < 1:
        raise UserError(f'-j must be 1 or more, not {jobs}')
    bar = functools.partial(tqdm, total=count, desc=describe, unit='video', dynamic_ncols=True,
                            disable=None)
    if jobs == 1:
        return list(bar(map(work, range(count))))
    spawn = multiprocessing.get_context('spawn')
    with concurrent.futures.ProcessPoolExecutor(jobs, spawn, begin_worker,
                                                (signal.SIGINT,)) as pool:
        try:
            return list(bar(pool.map(work, range(count), chunksize=4)))
        except KeyboardInterrupt:
            pool.shutdown(wait=False)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
