#!/usr/bin/env python
"""The same short runs under several Pythons and numpys: are their files the same to the bit?

    python proofs/pythons.py .venv-3.8/bin/python .venv-3.13/bin/python

Each interpreter trains an image and a video network with all randomness on, two data workers
included, on one thread. Logs, tensors of the checkpoint, and exported symbols and parameters are
compared by SHA-256. What a run writes of its surroundings, such as versions, dates and paths, is
not. Prints a table and keeps it in proofs/pythons.csv. Exit code 1: a file differs.
"""
import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import job
from bench import keep

IMAGE = ['train_imagenet.py', '--recipe', 'imagenet_a2_resnet50', '--model', 'a2_resnet26',
         '--data-dir', '{data}', '--classes', 10, '--input-size', 32, '--batch-size', 8, '--mixup',
         '--dropout', 0.3, '--label-smoothing', 0.1, '--lr', 0.02, '--num-steps', 12]
VIDEO = ['train_video.py', '--num-steps', 4, '--dropout', 0.3]
RUNS = {'image': IMAGE, 'video': VIDEO}
FILES = {'log': 'log.jsonl', 'tensors': 'checkpoints/*/tensors.safetensors',
         'symbol': 'export/*-symbol.json', 'params': 'export/*-0000.params'}
VERSIONS = ('import sys, numpy, cv2; '
            'print(sys.version.split()[0], numpy.__version__, cv2.__version__)')


def run(python, words, folder):
    """Train in a folder; {what it is: the first digits of its hash}."""
    command = [python, str(job.ROOT / 'scripts' / words[0]), *map(str, words[1:]), '--log-interval',
               '1', '-j', '2', '--save-dir', str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode:
        sys.exit(f'error: {python} could not train: {done.stderr.strip().splitlines()[-1]}')
    return {name: hashlib.sha256(next(folder.glob(pattern)).read_bytes()).hexdigest()[:12]
            for name, pattern in FILES.items()}


def environment():
    """This process's, with one thread, and the checkout's package for every interpreter."""
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(job.ROOT)}


def main(argv=None):
    """Compare what the interpreters train; 1 if a file differs."""
    flags = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument('pythons', nargs='+', metavar='PYTHON')
    flags.add_argument('--out', default=Path(__file__).with_suffix('.csv'), type=Path)
    args = flags.parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        images = job.write_data(Path(name) / 'images')
        for at, python in enumerate(args.pythons):
            versions = subprocess.run([python, '-c', VERSIONS], capture_output=True, text=True,
                                      check=True).stdout.split()
            for kind, words in RUNS.items():
                words = [str(word).format(data=images) for word in words]
                rows.append({**dict(zip(('python', 'numpy', 'opencv'), versions)), 'run': kind,
                             **run(python, words, Path(name) / f'{at}-{kind}')})
    keep(rows, args.out)
    differ = sorted({f'{row["run"]} {what}' for row in rows for what in FILES
                     if row[what] != next(first for first in rows
                                          if first['run'] == row['run'])[what]})
    print(f'these differ: {", ".join(differ)}' if differ else 'all files are the same to the bit')
    return 1 if differ else 0


if __name__ == '__main__':
    sys.exit(main())
