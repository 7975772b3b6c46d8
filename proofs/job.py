"""The small training jobs that proofs and tests put to the test.

Importing it makes `bench`, the scripts and `gluon_a2` importable.
"""
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path += [str(ROOT / 'benchmarks'), str(ROOT / 'scripts')]


def write_data(folder, train_images=40, val_images=13):
    """Write train.rec and val.rec with digits of the embedded set, over and over; the folder."""
    from gluon_a2 import data
    Path(folder).mkdir(parents=True, exist_ok=True)
    for split, count in (('train', train_images), ('val', val_images)):
        source = data.open_source(data.digits_folder(), split)
        with data.RecordWriter(folder / f'{split}.rec') as writer:
            for i in range(count):
                at = i % len(source)
                writer.write(source.read(at), int(source.labels[at]))
    return folder


def write_clips(folder, train_videos=40, val_videos=13):
    """Write train/<class>/ and val/<class>/ with video files of digits in motion; the folder."""
    from gluon_a2.data import moving_digits
    images, _ = moving_digits.load_digits()
    for number, (split, count) in enumerate((('train', train_videos), ('val', val_videos))):
        rng = np.random.default_rng(number)
        for i in range(count):
            motion = moving_digits.CLASSES[i % len(moving_digits.CLASSES)]
            ending, codec, options = moving_digits.FORMATS[i % len(moving_digits.FORMATS)]
            path = Path(folder) / split / motion / f'{i:03d}{ending}'
            path.parent.mkdir(parents=True, exist_ok=True)
            moving_digits.write_video(str(path), moving_digits.frames_of(images[i], motion, rng),
                                      codec, options)
    return folder


# what a job of a kind is: its script, what writes its data, flags of its own
KINDS = {'images': ('train_imagenet', write_data, ['--recipe', 'digits', '--mixup']),
         'clips': ('train_video', write_clips, ['--recipe', 'moving_digits', '--frames', 4,
                                                '--frame-stride', 3, '--views', 1])}
# 40 images in steps of 12: the last step of an epoch has 4, so most ranks have none in it.
GLOBAL_BATCH, BATCH = 12, 3


def flags(folder, images, ranks, kind='images'):
    """Flags of the training script for that job on `ranks` ranks, all randomness on."""
    several = ['-np', ranks] if ranks > 1 else []
    return [*KINDS[kind][2], '--input-size', 16, '--batch-size', BATCH, '--dropout', 0.3,
            '--label-smoothing', 0.1, '--lr', 0.02, '--log-interval', 1, '-j', 0, '--max-damaged',
            0, '--exact-sums', '--accumulate', GLOBAL_BATCH // BATCH // ranks, '--data-dir', images,
            '--save-dir', folder, *several]


def read_lines(path):
    """The values of all whole lines of a file of JSON lines; a process that is killed may leave a
    part of one."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True)
            if line.endswith('\n')]


def last(folder):
    """The last checkpoint of a run."""
    from gluon_a2.run import checkpoint
    return checkpoint.find(folder / 'checkpoints', 'last')


def distance(ours, theirs, kind):
    """Norm of the difference of two checkpoints' tensors of a kind ('param', 'state'), relative to
    the norm of `theirs`."""
    names = [name for name in theirs.tensors if name.startswith(kind)]
    gap, norm = (np.sqrt(sum((np.float64(tensor) ** 2).sum() for tensor in tensors))
                 for tensors in ([np.float64(ours.tensors[name]) - theirs.tensors[name]
                                  for name in names], [theirs.tensors[name] for name in names]))
    return float(gap / norm)
