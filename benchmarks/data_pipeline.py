#!/usr/bin/env python3
"""Our `Loader` against MXNet's `ImageRecordIter`: the same records, the same augmentation, the same
cores.

    OMP_NUM_THREADS=2 python benchmarks/data_pipeline.py

Both decode JPEGs of 500×375, crop, resize to 224, mirror, shift HLS, normalise, and hand over
float32 NDArrays. Rounds alternate between the two in one run. Prints images per second and
processor time per image, and keeps `data_pipeline.csv`. Processor time is the fairer figure where
ImageRecordIter does not use the cores it is given.
"""
import functools
import os
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from bench import at_least, in_turn, keep

from gluon_a2 import data
from gluon_a2.cli import entry, parser

SIZE, BATCH = 224, 32


def photo(rng, height=375, width=500):
    """uint8 H×W×3 with the frequencies of a photo: noise at several scales, some grain, and sharp
    edges."""
    image = np.full((height, width, 3), 128, np.float32)
    for cells, strength in ((8, 50), (32, 30), (128, 12)):
        noise = rng.normal(0, strength, (cells * height // width, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    image += rng.normal(0, 5, (height, width, 1))
    image = image.clip(0, 255).astype(np.uint8)
    for _ in range(8):
        centre, colour = rng.integers((width, height)).tolist(), rng.integers(0, 256, 3).tolist()
        cv2.circle(image, centre, int(rng.integers(5, 60)), colour, int(rng.integers(1, 6)))
    return image


def write_records(path, count):
    """Returns the mean size of the JPEGs in bytes."""
    rng, total = np.random.default_rng(0), 0
    with data.RecordWriter(path) as writer:
        for i in range(count):
            encoded = cv2.imencode('.jpg', photo(rng), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
            writer.write(encoded, i % 10, name=f'{i}.jpg')
            total += len(encoded)
    return total / count


def processor_time():
    """Seconds of this process and of the worker processes, which must be read while they live."""
    ticks = 0
    with open(f'/proc/self/task/{os.getpid()}/children') as children:
        pids = ['self', *children.read().split()]
    for pid in pids:
        with open(f'/proc/{pid}/stat') as stat:
            ticks += sum(map(int, stat.read().rpartition(')')[2].split()[11:13]))
    return ticks / os.sysconf('SC_CLK_TCK')


def record_iter(mx, path, threads):
    """A function that runs one epoch of ImageRecordIter and returns the number of images."""
    limits = data.TrainTransform(data.Preprocessing(SIZE))
    red, green, blue = data.MEAN
    images = mx.io.ImageRecordIter(
        path_imgrec=path, data_shape=(3, SIZE, SIZE), batch_size=BATCH, preprocess_threads=threads,
        ctx='cpu', random_resized_crop=True, min_random_area=limits.min_area,
        max_random_area=limits.max_area, min_aspect_ratio=limits.min_aspect,
        max_aspect_ratio=limits.max_aspect, inter_method=2, rand_mirror=True, random_h=limits.hue,
        random_s=limits.saturation, random_l=limits.lightness, mean_r=red, mean_g=green,
        mean_b=blue, scale=data.SCALE)

    def epoch(number):
        images.reset()
        count = 0
        for batch in images:
            batch.data[0].wait_to_read()
            count += len(batch.data[0]) - batch.pad
        return count
    return epoch


def our_loader(mx, loader, source):
    """The same for a `Loader`, the copy into an NDArray included."""
    def epoch(number):
        order = data.epoch_order(len(source), 0, number)
        count = 0
        for batch in loader.load(data.batches(order, BATCH), number):
            mx.nd.array(batch.images, dtype='float32').wait_to_read()
            count += len(batch.images)
        return count
    return epoch


def measure(contestants, rounds):
    """Rows of name, round, images/s and processor ms per image, after a round that warms up."""
    def turn(name, epoch, number):
        start, used = time.perf_counter(), processor_time()
        count = epoch(number)
        taken, used = time.perf_counter() - start, processor_time() - used
        return {'pipeline': name, 'round': number, 'images_per_second': round(count / taken, 1),
                'processor_ms_per_image': round(1000 * used / count, 3)}
    found = in_turn({name: functools.partial(turn, name, epoch)
                     for name, epoch in contestants.items()}, rounds, warm=1, unit='epoch')
    return [row for turns in zip(*found.values()) for row in turns]


def report(rows):
    """Print the medians and their ratios."""
    medians = {}
    for name in dict.fromkeys(row['pipeline'] for row in rows):
        speed, used = medians[name] = [
            statistics.median(row[column] for row in rows if row['pipeline'] == name)
            for column in ('images_per_second', 'processor_ms_per_image')]
        print(f'{name:16} {speed:7.1f} images/s   {used:6.2f} processor ms per image')
    ours, theirs = medians['Loader'], medians['ImageRecordIter']
    print(f'Loader / ImageRecordIter: {ours[0] / theirs[0]:.2f} in images/s, '
          f'{theirs[1] / ours[1]:.2f} in images per processor second')


@entry
def main(argv=None):
    """Write the pictures, measure both pipelines in turn, report."""
    flags = parser(__doc__)
    flags.add_argument('--images', type=at_least(BATCH), default=416)
    flags.add_argument('--rounds', type=at_least(1), default=9)
    flags.add_argument('-j', '--workers', type=at_least(1), default=2,
                       help='workers of ours, threads of ImageRecordIter')
    flags.add_argument('--csv', type=Path, default=Path(__file__).with_suffix('.csv'))
    args = flags.parse_args(argv)
    # Here, because the loader's processes import this file too. It sets OpenMP to all cores, which
    # ImageRecordIter decodes with, whatever preprocess_threads says.
    from gluon_a2.backend import mx
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'photos.rec')
        print(f'{args.images} JPEGs of {write_records(path, args.images) / 1000:.0f} kB')
        source, transform = data.RecordSource(path), data.TrainTransform(data.Preprocessing(SIZE))
        with data.Loader(source, transform, args.workers) as loader:
            rows = measure({'Loader': our_loader(mx, loader, source),
                            'ImageRecordIter': record_iter(mx, path, args.workers)}, args.rounds)
    keep(rows, args.csv, show=False)
    report(rows)


if __name__ == '__main__':
    main()
