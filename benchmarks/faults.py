#!/usr/bin/env python3
"""Every kind of fault on every rank in turn: is the rank named, how soon is the job down, and is
anything left?

    python benchmarks/faults.py

Four ranks on this machine with the default --rank-timeout. After three steps a rank is killed,
stopped (SIGSTOP), sleeps, raises, exits or meets NaN. Prints a table and keeps `faults.csv`; exit
code 1 unless every job is down within 30 s of the fault with the rank named, an exit code that is
not 0, its last checkpoint valid and no process left.
"""
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / 'tests')]

from gluon_a2.cli import entry, parser, show_table  # noqa: E402
from gluon_a2.run import checkpoint  # noqa: E402

KINDS = ('SIGKILL', 'SIGSTOP', 'sleep', 'raise', 'exit', 'nan')
RANKS, STEP, LIMIT = 4, 3, 30
FIELDS = ('kind', 'rank', 'seconds', 'exit_code', 'named', 'checkpoint', 'processes_left', 'good',
          'sentence')
FLAGS = [
    '--recipe', 'digits', '--input-size', '16', '--batch-size', '3', '--num-epochs', '3',
    '--log-interval', '1', '--save-steps', '1', '-j', '0', '-np',
    str(RANKS)
]


def suffer(kind, rank, images, folder):
    """The row of a job in which this happens to a rank."""
    command = [
        sys.executable,
        str(HERE.parent / 'tests' / 'tiny_rank.py'), *FLAGS, '--data-dir',
        str(images), '--save-dir',
        str(folder)
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={
        **os.environ, 'OMP_NUM_THREADS': '1', 'TINY_FAULT': f'{rank} {STEP} {kind}'})
    seconds = time.time() - Path(f'{folder}.fault').stat().st_mtime
    errors = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    left = subprocess.run(['pgrep', '-f', str(folder)], capture_output=True,
                          text=True).stdout.split()
    found = checkpoint.newest(folder / 'checkpoints')
    step, named = found.state['at']['step'] if found else None, any(f'rank {rank}' in line
                                                                    for line in errors)
    good = seconds <= LIMIT and done.returncode != 0 and named and step in (STEP - 1,
                                                                            STEP) and not left
    return dict(
        zip(FIELDS,
            (kind, rank, round(seconds, 1), done.returncode, named, step, len(left), good,
             next((line
                   for line in errors if f'rank {rank}' in line), '').replace(str(folder), '…'))))


@entry
def main(argv=None):
    """Run all, keep and print the table."""
    parser(__doc__).parse_args(argv)
    from tiny import write_data  # imports MXNet
    rows = []
    with tempfile.TemporaryDirectory() as place:
        images = Path(place, 'images')
        images.mkdir()
        write_data(images)
        for kind in tqdm(KINDS, unit='kind', dynamic_ncols=True, disable=None):
            rows += [
                suffer(kind, rank, images, Path(place, f'{kind}-{rank}')) for rank in range(RANKS)
            ]
    with open(HERE / 'faults.csv', 'w', newline='') as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    show_table([FIELDS[:-1], *([str(row[name]) for name in FIELDS[:-1]] for row in rows)])
    good = sum(row['good'] for row in rows)
    print(f'{good} of {len(rows)} as they should be; down after '
          f'{max(row["seconds"] for row in rows)} s at most')
    sys.exit(0 if good == len(rows) else 1)


if __name__ == '__main__':
    main()
