#!/usr/bin/env python3
"""Read random clips out of real files whose every frame carries its number: how many frames are
wrong?

    python proofs/frame_exactness.py
    python proofs/frame_exactness.py --decord ~/decord-env/bin/python  # one that has decord

The files are those of benchmarks/numbered.py: containers and codecs, open groups of pictures,
variable rate, cut streams, hidden and rotated frames. A clip begins anywhere, has 8 or 16 frames
and a stride of 1 to 8. OpenCV and decord are asked for the same frames by number; decord in a
process of its own, since beside MXNet it crashes. Of a cut stream, whose first frames cannot be
shown, a reader that counts them all the same has other frames under all numbers. Both know nothing
of a rotation, so a rotated file is read by ours alone. Keeps `frame_exactness.csv`; exit code 1 if
a frame of ours is wrong.
"""
import contextlib
import sys
import tempfile
import zlib
from pathlib import Path

import job  # noqa: F401 (it makes `bench` importable)
import numbered
import numpy as np
from bench import Child, at_least, keep, serve

COUNT = 240  # frames of each file


def clips(kind, many, length):
    """Lists of frame numbers, within a video of `length` frames."""
    rng = np.random.default_rng(zlib.crc32(kind.encode()))  # the same in every process
    for _ in range(many):
        frames, stride = int(rng.choice([8, 16])), int(rng.integers(1, 9))
        frames = min(frames, (length - 1) // stride + 1)
        start = int(rng.integers(length - (frames - 1) * stride))
        yield [start + stride * i for i in range(frames)]


def wrong(pictures, wanted, first):
    """How many of the pictures, some perhaps None, are not the frames wanted."""
    found = [None if picture is None else numbered.number(picture) for picture in pictures]
    return sum(number != first + i for number, i in zip(found + [None] * len(wanted), wanted))


def ours(path, asked, cache):
    """Pictures of each clip, by this package."""
    from gluon_a2.data import VideoError, open_video
    for wanted in asked:
        pictures = []
        try:
            for picture in open_video(path, cache).read(wanted):
                pictures.append(picture)
        except VideoError as error:
            print(f'{path}: {error}', file=sys.stderr)
        yield pictures


def opencv(path, asked):
    """Pictures of each clip, by setting cv2.VideoCapture to each frame."""
    import cv2
    for wanted in asked:
        capture, pictures = cv2.VideoCapture(str(path)), []
        for i in wanted:
            capture.set(cv2.CAP_PROP_POS_FRAMES, i)
            good, picture = capture.read()
            pictures.append(picture[:, :, ::-1] if good else None)
        capture.release()
        yield pictures


def by_decord():
    """In an interpreter of its own: a function of [path, first, clips], the number of wrong
    frames."""
    import decord

    def pictures(path, wanted):
        try:
            return list(decord.VideoReader(path).get_batch(wanted).asnumpy())
        except Exception as error:  # decord has no class for its errors
            print(f'decord: {path}: {str(error).splitlines()[0]}', file=sys.stderr)
            return []

    def answer(order):
        path, first, asked = order
        return sum(wrong(pictures(path, wanted), wanted, first) for wanted in asked)
    return answer


def measure(kind, path, first, many, cache, decord):
    """The row of a file."""
    from gluon_a2.data import open_video
    length = len(open_video(path, cache))
    asked = list(clips(kind, many, length))
    turned = 'rotated' in kind

    def count(clips_read):
        return sum(wrong(pictures, wanted, first) for pictures, wanted in zip(clips_read, asked))

    return {'file': kind, 'frames': length, 'clips': many, 'frames_read': sum(map(len, asked)),
            'wrong': count(ours(path, asked, cache)),
            'wrong_opencv': '–' if turned else count(opencv(path, asked)),
            'wrong_decord': '–' if turned or not decord else decord.ask([str(path), first, asked])}


def main(argv=None):
    """Write the files, read them in all ways, print and keep the matrix."""
    from tqdm import tqdm

    from gluon_a2.cli import parser
    flags = parser(__doc__)
    flags.add_argument('--clips', type=at_least(1), default=120, help='of each file')
    flags.add_argument('--decord', metavar='PYTHON', help='an interpreter that has decord')
    flags.add_argument('--csv', type=Path, default=Path(__file__).with_suffix('.csv'))
    args = flags.parse_args(argv)
    rows, pictures = [], numbered.frames(COUNT)
    with tempfile.TemporaryDirectory(prefix='frames-') as place, contextlib.ExitStack() as stack:
        decord = args.decord and stack.enter_context(
            Child('decord', __file__, '--child', python=args.decord))
        for kind in tqdm(numbered.KINDS, unit='file', disable=None):
            path, first = numbered.make(Path(place), kind, pictures)
            rows.append(measure(kind, path, first, args.clips, Path(place) / 'cache', decord))
    keep(rows, args.csv)
    bad = sum(row['wrong'] for row in rows)
    read, asked = (sum(row[name] for row in rows) for name in ('frames_read', 'clips'))
    print(f'{bad} of {read} frames wrong in {asked} clips')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(serve(by_decord) if sys.argv[1:2] == ['--child'] else main())
