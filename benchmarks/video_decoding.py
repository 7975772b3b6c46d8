#!/usr/bin/env python3
"""How many clips a second are decoded, beside OpenCV and decord, on the same files by one thread
each.

    python benchmarks/video_decoding.py python benchmarks/video_decoding.py --decord
    ~/decord-env/bin/python     # an interpreter that has decord

Clips of 8 frames, 8 apart, from random places of videos of 10 s; each reader is asked for the same
clips of a file, in turn, round by round. Ours is also timed with the augmentation of training, and
without finding the index in the cache. decord runs in a process of its own. Keeps
`video_decoding.csv`.
"""
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

FILES = {  # name: (codec, options, ending, width, height)
    'H.264 320×240 mp4': ('libx264', {'g': '250', 'bf': '3', 'crf': '23'}, 'mp4', 320, 240),
    'H.264 640×360 mp4': ('libx264', {'g': '250', 'bf': '3', 'crf': '23'}, 'mp4', 640, 360),
    'H.264 340×256 mp4, key frame every 32': ('libx264', {'g': '32', 'bf': '3', 'crf': '18'}, 'mp4', 340, 256),
    'MPEG-4 320×240 avi': ('mpeg4', {'g': '12', 'bf': '2', 'qscale': '5', 'flags': '+qscale'}, 'avi', 320, 240),
}
LENGTH, FRAMES, STRIDE = 250, 8, 8


def starts(many, number):
    """Where the clips of a round begin."""
    import random
    return [
        random.Random(f'{number} {i}').randrange(LENGTH - (FRAMES - 1) * STRIDE)
        for i in range(many)
    ]


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


def decord_child():
    """In an interpreter of its own: [path, beginnings] a line, seconds a line."""
    import decord
    for line in sys.stdin:
        path, begin = json.loads(line)
        start = time.perf_counter()
        for first in begin:
            assert len(decord.VideoReader(path,
                                          num_threads=1).get_batch(clip(first)).asnumpy()) == FRAMES
        print(time.perf_counter() - start, flush=True)


def ask(decord, path, begin):
    """decord's seconds."""
    decord.stdin.write(json.dumps([str(path), begin]) + '\n')
    decord.stdin.flush()
    return float(decord.stdout.readline())


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


def main(argv=None):
    """Write the files, ask all readers in turn, print and keep the medians."""
    from table import keep
    from tqdm import tqdm

    from gluon_a2.cli import parser
    flags = parser(__doc__)
    flags.add_argument('--clips', type=int, default=20, help='of a file in a round')
    flags.add_argument('--rounds', type=int, default=9, help='of which the median is taken')
    flags.add_argument('--decord', metavar='PYTHON', help='an interpreter that has decord')
    args = flags.parse_args(argv)
    readers = {
        'ours': ours, 'ours, index made anew': None, 'ours, augmented': augmented, 'OpenCV': opencv
    }
    decord = args.decord and subprocess.Popen([args.decord, __file__, '--decord-child'],
                                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                              encoding='utf-8')
    rows = []
    with tempfile.TemporaryDirectory(prefix='decoding-') as place, tqdm(
            total=len(FILES) * args.rounds, unit='round') as bar:
        cache = str(Path(place) / 'cache')
        for name in FILES:
            path = make(Path(place), name)
            ours(path, [0], cache)
            seconds = {reader: [] for reader in [*readers, *(['decord'] if decord else [])]}
            for number in range(args.rounds):
                begin = starts(args.clips, number)
                for reader, read in readers.items():
                    seconds[reader].append(
                        ours(path, begin, '/dev/null') if read is
                        None else read(path, begin, cache))
                if decord:
                    seconds['decord'].append(ask(decord, path, begin))
                bar.update()
            base = statistics.median(seconds['ours'])
            rows += [{
                'file': name, 'reader': reader, 'clips_per_s': round(
                    args.clips / statistics.median(taken), 1), 'lowest': round(
                        args.clips / max(taken), 1), 'highest': round(args.clips / min(taken), 1),
                'ours_is_faster': f'{statistics.median(taken) / base:.2f}×'
            } for reader, taken in seconds.items()]
    if decord:
        decord.stdin.close()
        decord.wait()
    keep(rows, Path(__file__).with_suffix('.csv'))


if __name__ == '__main__':
    decord_child() if sys.argv[1:2] == ['--decord-child'] else main()
