#!/usr/bin/env python3
"""Do the tests pass on every Python that is found here, each in an environment of its own?

    make matrix
    python proofs/matrix.py --python 3.8 3.13 -- -k attention

Looks for Python 3.8 to 3.14 on PATH, then among pyenv's. For each it calls `make test` with the
environment `.venv-3.X`, which stays, and with what follows `--`. What make says is in
`.venv-3.X.log`. A row of Markdown is printed and kept as each ends. `matrix.csv` keeps whole runs
only: all Pythons, all tests. Exit code 1 if anything failed.
"""
import glob
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import job
from bench import keeping

from gluon_a2.cli import entry, parser
from gluon_a2.errors import UserError

CSV = Path(__file__).with_suffix('.csv')
VERSIONS = [f'3.{minor}' for minor in range(8, 15)]
FIELDS = ('python', 'numpy', 'passed', 'failed', 'skipped', 'seconds')
FACTS = 'import sys, numpy; print(sys.version.split()[0], numpy.__version__)'


def find(version):
    """The path of a Python that starts, or None; pyenv's launchers of others start nothing."""
    pyenv = os.environ.get('PYENV_ROOT') or os.path.expanduser('~/.pyenv')
    found = [shutil.which(f'python{version}'),
             *sorted(glob.glob(f'{glob.escape(pyenv)}/versions/{version}.*/bin/python'))]
    for path in filter(None, found):
        if subprocess.run([path, '-c', ''], capture_output=True).returncode == 0:
            return path
    return None


def run(version, python, words):
    """The row of one Python: set it up, and run the tests."""
    venv = job.ROOT / f'.venv-{version}'
    report = venv / 'tests.xml'
    if report.exists():
        report.unlink()
    # The settings of a make that called this one are not for the one called here.
    environment = {key: value for key, value in os.environ.items()
                   if key not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'ARGS', 'VENV')}
    arguments = shlex.join([*words, f'--junitxml={venv.name}/tests.xml']).replace('$', '$$')
    with open(f'{venv}.log', 'w', encoding='utf-8') as log:
        subprocess.run(['make', 'test', f'VENV={venv.name}', f'PYTHON={python}',
                        f'ARGS={arguments}'], cwd=job.ROOT, env=environment, stdout=log,
                       stderr=subprocess.STDOUT)
    facts = subprocess.run([venv / 'bin' / 'python', '-c', FACTS], capture_output=True, text=True,
                           cwd=venv).stdout.split() if (venv / 'bin').exists() else []
    return {**dict.fromkeys(FIELDS, ''), 'python': version, **dict(zip(FIELDS, facts)),
            **(counts(report) if report.exists() else {'failed': f'no tests: {venv.name}.log'})}


def counts(report):
    """What a report of pytest's says, in numbers."""
    suite = next(ElementTree.parse(report).iter('testsuite'))
    tests, errors, failures, skipped = (
        int(suite.get(name)) for name in ('tests', 'errors', 'failures', 'skipped'))
    return {'passed': tests - errors - failures - skipped, 'failed': errors + failures,
            'skipped': skipped, 'seconds': round(float(suite.get('time')))}


def line(cells):
    """A line of a table."""
    return f'| {" | ".join(map(str, cells))} |'


@entry
def main(argv=None):
    """Run the tests on each Python, and print and keep the table."""
    flags = parser(__doc__)
    flags.add_argument('--python', nargs='+', choices=VERSIONS, metavar='3.X',
                       help='those to run (default: all that are found)')
    flags.add_argument('words', nargs='*', metavar='ARGUMENT', help="pytest's, after --")
    given = flags.parse_args(argv)
    found = {version: find(version) for version in given.python or VERSIONS}
    if given.python and None in found.values():
        raise UserError(f'no Python {", ".join(name for name in found if not found[name])} is '
                        'here, on PATH or in pyenv')
    whole = not given.python and not given.words
    failed = 0
    print(line(FIELDS), line(['---'] * len(FIELDS)), sep='\n', flush=True)
    with keeping(CSV if whole else os.devnull, FIELDS) as write:
        for version, python in found.items():
            if python:
                row = run(version, python, given.words)
                write(row)
                print(line(row.values()), flush=True)
                failed += row['failed'] != 0
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
