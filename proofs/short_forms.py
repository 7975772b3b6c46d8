#!/usr/bin/env python3
"""Run the proofs in short forms, a few minutes in all, and keep nothing.

    python proofs/short_forms.py                 # make release does it
    python proofs/short_forms.py kills resume    # these alone

Some are left out, because they take what a machine may lack: ELSEWHERE says what.
"""
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from gluon_a2.cli import entry, parser, show_table  # noqa: E402
from gluon_a2.errors import UserError  # noqa: E402

SHORT = {  # {proof: its flags}; CSV stands for a file that is thrown away
    'checkpoint_faults': ('--scenarios', 'mark the best'),
    'equivalence': ('--ranks', '2', '--csv', 'CSV'),
    'export_zoo': ('--networks', 'a2_resnet26', '--input-size', '64'),
    'faults': ('--kinds', 'SIGKILL', 'nan', '--ranks', '0', '--csv', 'CSV'),
    'frame_exactness': ('--clips', '2', '--csv', 'CSV'),
    'fuzz_files': ('--count', '400', '--out', 'CSV'),
    'fuzz_hub': ('--count', '400', '--out', 'CSV'),
    'kills': ('--kills', '2', '--ranks', '1', '--csv', 'CSV'),
    'lost_writes': ('--count', '50', '--out', 'CSV'),
    'many_ranks': ('--ranks', '16', '--seconds', '2', '--out', 'CSV'),
    'resume': ('--ranks', '1', '--steps', '2', '--csv', 'CSV'),
    'serving': ('--requests', '100', '--csv', 'CSV'),
    'simulate_ranks': ('--count', '50', '--out', 'CSV'),
    'strangers': ('--count', '50', '--out', 'CSV'),
}
ELSEWHERE = {'clients': 'other programs', 'cluster': 'root',
             'compatibility': 'old releases of MXNet', 'matrix': 'several Pythons',
             'pythons': 'several Pythons', 'torch_zoo': 'PyTorch'}


def run(name, folder):
    """(seconds, exit code, what it said) of a proof."""
    began, csv = time.monotonic(), str(Path(folder) / f'{name}.csv')
    words = [csv if word == 'CSV' else word for word in SHORT[name]]
    done = subprocess.run([sys.executable, str(HERE / f'{name}.py'), *words], encoding='utf-8',
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return time.monotonic() - began, done.returncode, done.stdout


@entry
def main(argv=None):
    """Run each, print a table, and fail where one does not hold."""
    flags = parser(__doc__)
    flags.add_argument('proofs', nargs='*', metavar='PROOF', help='all by default')
    names = flags.parse_args(argv).proofs or list(SHORT)
    unknown = [name for name in names if name not in SHORT]
    if unknown:
        raise UserError(f'{unknown[0]} has no short form: choose from {", ".join(SHORT)}')
    rows, failed = [('proof', 's', 'holds')], []
    with tempfile.TemporaryDirectory() as folder:
        for name in tqdm(names, unit='proof', disable=None):
            seconds, code, said = run(name, folder)
            rows.append((name, f'{seconds:.0f}', 'no' if code else 'yes'))
            if code:
                failed.append(name)
                print(said, file=sys.stderr)
    show_table(rows)
    if failed:
        raise UserError(f'these proofs do not hold: {", ".join(failed)}; what they said is above')


if __name__ == '__main__':
    sys.exit(main())
