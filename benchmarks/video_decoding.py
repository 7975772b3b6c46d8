#!/usr/bin/env python3
"""How many clips a second are decoded, beside OpenCV and decord, on the same files by one thread
each.

    python benchmarks/video_decoding.py
    python benchmarks/video_decoding.py --decord ~/decord-env/bin/python  # one that has decord

Clips of 8 frames, 8 apart, from random places of videos of 10 s; each reader is asked for the same
clips of a file, in turn, round by round. Ours is also timed with the augmentation of training, and
without finding the index in the cache. decord runs in a process of its own. Keeps
`video_decoding.csv`.
"""
import contextlib
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench import Child, at_least, in_turn, keep, rates, serve

FILES = {  # name: (codec, options, ending, width, height)
    'H.264 320×240 mp4': ('libx264', {'g': '250', 'bf': '3', 'crf': '23'}, 'mp4', 320, 240),
    'H.264 640×360 mp4': ('libx264', {'g': '250', 'bf': '3', 'crf': '23'}, 'mp4', 640, 360),
    'H.264 340×256 mp4, key frame every 32':
        ('libx264', {'g': '32', 'bf': '3', 'crf': '18'}, 'mp4', 340, 256),
    'MPEG-4 320×240 avi':
        ('mpeg4', {'g': '12', 'bf': '2', 'qscale': '5', 'flags': '+qscale'}, 'avi', 320, 240),
}
LENGTH, FRAMES, STRIDE = 250, 8, 8


def starts(many, number):
    """Where the clips of a round begin."""
    last = LENGTH - (FRAMES - 1) * STRIDE
    return [random.Random(f'{number} {i}').randrange(last) for i in range(many)]


def clip(start):
    """Frame numbers."""
    return [start + STRIDE * i for i in range(FRAMES)]


def ours(path, begin, cache):
    """Seconds for clips that begin at these frames."""
    from gluon_a2.data import open_video
    start = time.perf_counter()
    for first in begin:
        assert sum(1 for _ in open_video(path, cache).read(clip(first))) == FRAMES
    return time.perf_counter() - start


def augmented(path, begin, cache):
    """The same through the training transform, 224×224, to what the network gets."""
    import numpy as np

    from gluon_a2.data import ClipPreprocessing, TrainClip, VideoSource
    source = VideoSource([str(path)], [0], ['a'], cache=cache)
    transform = TrainClip(ClipPreprocessing(224, frames=FRAMES, frame_stride=STRIDE))
    out = np.empty(transform.shape, np.float32)
    start = time.perf_counter()
    for first in begin:
        transform.fill(source, 0, np.random.default_rng(first), out)
    return time.perf_counter() - start


def opencv(path, begin, cache):
    """By cv2.VideoCapture, set to the first frame of a clip, every frame from there on grabbed."""
    import cv2
    start = time.perf_counter()
    for first in begin:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        capture.set(cv2.CAP_PROP_POS_FRAMES, first)
        for i in range((FRAMES - 1) * STRIDE + 1):
            capture.grab()
            if i % STRIDE == 0:
                assert capture.retrieve()[0]
        capture.release()
    return time.perf_counter() - start


def by_decord():
    """In an interpreter of its own: a function of [path, beginnings], the seconds."""
    import decord

    def answer(order):
        path, begin = order
        start = time.perf_counter()
        for first in begin:
            video = decord.VideoReader(path, num_threads=1)
            assert len(video.get_batch(clip(first)).asnumpy()) == FRAMES
        return time.perf_counter() - start
    return answer


def make(folder, name):
    """A file of 10 s: a texture that moves, with noise, as a camera's picture has."""
    import numbered
    import numpy as np
    codec, options, ending, width, height = FILES[name]
    rng = np.random.default_rng(0)
    pictures = numbered.frames(LENGTH, height, width)
    noise = rng.integers(-6, 7, (8, height, width, 1))
    for i in range(LENGTH):
        pictures[i] = (pictures[i] + noise[i % 8]).clip(0, 255)
    return numbered.write(folder / f'{abs(hash(name))}.{ending}', pictures, codec, options)


def read_in_turn(name, path, cache, decord, args):
    """A row of each reader for one file."""
    readers = {'ours': ours,
               'ours, index made anew': lambda path, begin, _: ours(path, begin, '/dev/null'),
               'ours, augmented': augmented, 'OpenCV': opencv}
    if decord:
        readers['decord'] = lambda path, begin, _: decord.ask([str(path), begin])
    ours(path, [0], cache)
    found = in_turn({reader: lambda number, read=read: read(path, starts(args.clips, number), cache)
                     for reader, read in readers.items()}, args.rounds)
    base = statistics.median(found['ours'])
    for reader, taken in found.items():
        median, lowest, highest = rates(args.clips, taken, 1)
        yield {'file': name, 'reader': reader, 'clips_per_s': median, 'lowest': lowest,
               'highest': highest, 'ours_is_faster': f'{statistics.median(taken) / base:.2f}×'}


def main(argv=None):
    """Write the files, ask all readers in turn, print and keep the medians."""
    from gluon_a2.cli import parser
    flags = parser(__doc__)
    flags.add_argument('--clips', type=at_least(1), default=20, help='of a file in a round')
    flags.add_argument('--rounds', type=at_least(1), default=9, help='of which the median is taken')
    flags.add_argument('--decord', metavar='PYTHON', help='an interpreter that has decord')
    flags.add_argument('--csv', type=Path, default=Path(__file__).with_suffix('.csv'))
    args = flags.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix='decoding-') as place, contextlib.ExitStack() as stack:
        decord = args.decord and stack.enter_context(
            Child('decord', __file__, '--child', python=args.decord))
        rows = [row for name in FILES
                for row in read_in_turn(name, make(Path(place), name), Path(place) / 'cache',
                                        decord, args)]
    keep(rows, args.csv)


if __name__ == '__main__':
    serve(by_decord) if sys.argv[1:2] == ['--child'] else main()
