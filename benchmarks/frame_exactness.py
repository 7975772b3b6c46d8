#!/usr/bin/env python3
"""Read random clips out of real files whose every frame carries its number: how many frames are
wrong?

    python benchmarks/frame_exactness.py python benchmarks/frame_exactness.py --decord
    ~/decord-env/bin/python     # an interpreter that has decord

The files are those of tests/numbered.py: containers and codecs, open groups of pictures, variable
rate, cut streams, hidden and rotated frames. A clip begins anywhere, has 8 or 16 frames and a
stride of 1 to 8. OpenCV and decord are asked for the same frames by number; decord in a process of
its own, since beside MXNet it crashes. Of a cut stream, whose first frames cannot be shown, a
reader that counts them all the same has other frames under all numbers. Both are told nothing of a
rotation, so a rotated file is read by ours alone. Keeps `frame_exactness.csv`; exit code 1 if a
frame of ours is wrong.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

COUNT = 240  # frames of each file


def clips(kind, many, length):
    """Lists of frame numbers, within a video of `length` frames."""
    import numpy as np
    rng = np.random.default_rng(abs(hash_of(kind)))
    for _ in range(many):
        frames, stride = int(rng.choice([8, 16])), int(rng.integers(1, 9))
        frames = min(frames, (length - 1) // stride + 1)
        start = int(rng.integers(length - (frames - 1) * stride))
        yield [start + stride * i for i in range(frames)]


def hash_of(text):
    """The same number in every process."""
    import zlib
    return zlib.crc32(text.encode())


def wrong(pictures, wanted, first):
    """How many of the pictures, some perhaps None, are not the frames wanted."""
    import numbered
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


def decord_child():
    """In an interpreter of its own: read {path: [clips], …} from standard input, write the numbers
    of wrong frames."""
    import decord
    for line in sys.stdin:
        path, first, asked = json.loads(line)
        bad = 0
        for wanted in asked:
            try:
                pictures = list(decord.VideoReader(path).get_batch(wanted).asnumpy())
            except Exception as error:  # decord has no class for its errors
                print(f'decord: {path}: {str(error).splitlines()[0]}', file=sys.stderr)
                pictures = []
            bad += wrong(pictures, wanted, first)
        print(bad, flush=True)


def measure(kind, path, first, many, cache, decord):
    """The row of a file."""
    from gluon_a2.data import open_video
    length = len(open_video(path, cache))
    asked = list(clips(kind, many, length))
    row = {
        'file': kind, 'frames': length, 'clips': many, 'frames_read': sum(map(len, asked)),
        'wrong': sum(
            wrong(pictures, wanted, first)
            for pictures, wanted in zip(ours(path, asked, cache), asked))
    }
    turned = 'rotated' in kind
    row['wrong_opencv'] = '–' if turned else sum(
        wrong(pictures, wanted, first) for pictures, wanted in zip(opencv(path, asked), asked))
    row['wrong_decord'] = '–'
    if decord and not turned:
        decord.stdin.write(json.dumps([str(path), first, asked]) + '\n')
        decord.stdin.flush()
        row['wrong_decord'] = int(decord.stdout.readline() or -1)
    return row


def main(argv=None):
    """Write the files, read them in all ways, print and keep the matrix."""
    import numbered
    from table import keep
    from tqdm import tqdm

    from gluon_a2.cli import parser
    flags = parser(__doc__)
    flags.add_argument('--clips', type=int, default=120, help='of each file')
    flags.add_argument('--decord', metavar='PYTHON', help='an interpreter that has decord')
    args = flags.parse_args(argv)
    decord = args.decord and subprocess.Popen([args.decord, __file__, '--decord-child'],
                                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                              encoding='utf-8')
    rows, pictures = [], numbered.frames(COUNT)
    with tempfile.TemporaryDirectory(prefix='frames-') as place:
        for kind in tqdm(numbered.KINDS, unit='file'):
            path, first = numbered.make(Path(place), kind, pictures)
            rows.append(measure(kind, path, first, args.clips, Path(place) / 'cache', decord))
    if decord:
        decord.stdin.close()
        decord.wait()
    keep(rows, Path(__file__).with_suffix('.csv'))
    bad = sum(row['wrong'] for row in rows)
    read, asked = (sum(row[name] for row in rows) for name in ('frames_read', 'clips'))
    print(f'{bad} of {read} frames wrong in {asked} clips')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(decord_child() if sys.argv[1:2] == ['--decord-child'] else main())
