#!/usr/bin/env python3
"""Every kind of fault on every rank in turn: is the rank named, how soon is the job down, and is
anything left?

    python proofs/faults.py
    python proofs/faults.py --kinds SIGKILL --ranks 0,3

Four ranks on this machine with the default --rank-timeout. After three steps a rank is killed,
stopped (SIGSTOP), sleeps, raises, exits or meets NaN. Prints a table and keeps `faults.csv`; exit
code 1 unless every job is down within 30 s of the fault with the rank named, an exit code that is
not 0, its last checkpoint valid and no process left.
"""
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import job
from bench import keep, script, whole_numbers
from tqdm import tqdm

from gluon_a2.cli import entry, parser
from gluon_a2.run import checkpoint

KINDS = ('SIGKILL', 'SIGSTOP', 'sleep', 'raise', 'exit', 'nan')
RANKS, STEP, LIMIT = 4, 3, 30
FLAGS = ('--recipe', 'digits', '--input-size', 16, '--batch-size', 3, '--num-epochs', 3,
         '--log-interval', 1, '--save-steps', 1, '-j', 0, '-np', RANKS)
HERE = Path(__file__).resolve()


def suffer(kind, rank, images, folder):
    """The row of a job in which this happens to a rank."""
    done = script(HERE.with_name('faulty_rank.py'), *FLAGS, '--data-dir', images, '--save-dir',
                  folder, A2_FAULT=f'{rank} {STEP} {kind}')
    seconds = time.time() - Path(f'{folder}.fault').stat().st_mtime
    sentence = next((line for line in done.stderr.splitlines()
                     if re.match(rf'(\[\d+ \S+\] )?error: .*\brank {rank}\b', line)), '')
    left = subprocess.run(['pgrep', '-f', str(folder)], stdout=subprocess.PIPE).stdout.split()
    found = checkpoint.newest(folder / 'checkpoints')
    step = found.state['at']['step'] if found else None
    good = (seconds <= LIMIT and done.returncode != 0 and bool(sentence) and not left
            and step in (STEP - 1, STEP))
    return {'kind': kind, 'rank': rank, 'seconds': round(seconds, 1), 'exit_code': done.returncode,
            'named': bool(sentence), 'checkpoint': step, 'processes_left': len(left), 'good': good,
            'sentence': sentence.replace(str(folder), '…')}


@entry
def main(argv=None):
    """Run all, keep and print the table."""
    flags = parser(__doc__)
    flags.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS)
    flags.add_argument('--ranks', type=whole_numbers, default=list(range(RANKS)))
    flags.add_argument('--csv', type=Path, default=HERE.with_suffix('.csv'))
    given = flags.parse_args(argv)
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        images = job.write_data(place / 'images')
        cases = [(kind, rank) for kind in given.kinds for rank in given.ranks]
        rows = [suffer(kind, rank, images, place / f'{kind}-{rank}')
                for kind, rank in tqdm(cases, unit='job', disable=None)]
    keep(rows, given.csv)
    good = sum(row['good'] for row in rows)
    print(f'{good} of {len(rows)} as they should be; down after '
          f'{max(row["seconds"] for row in rows)} s at most')
    return 0 if good == len(rows) else 1


if __name__ == '__main__':
    sys.exit(main())
