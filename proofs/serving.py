#!/usr/bin/env python3
"""A `Classifier` as a server has it: several threads, many requests, and workers that are forked.

    python proofs/serving.py

The demo's network with random weights, at its 32×32, answers photographs in each engine, each in a
process of its own: 1,000 requests of one thread, whose answers are what all others are held to;
then 10,000 of four threads that share the Classifier without a lock; then 1,000 more of a process
forked from it, as gunicorn's --preload does, after it was used. `memory` is that of the process
after 1,000, 5,000 and 10,000 requests, each part of which has four new threads. Exit code 1 where
an answer differs by more than 1e-5, a fork does not answer within 60 s, or the second half took
more than 40 MB: MXNet keeps some for each thread that computed. Keeps
`serving.csv`; with `--engines` the rows of the others stay as they are.
"""
import concurrent.futures
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import job  # noqa: F401 (it makes `bench` importable)
from bench import at_least, keep, read_rows

from gluon_a2.cli import entry, parser

ENGINES = ('mxnet', 'onnxruntime')
THREADS, SECONDS, GROWTH = 4, 60, 40


def resident():
    """Megabytes (10⁶ bytes) of memory that this process has."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return round(pages * os.sysconf('SC_PAGE_SIZE') / 1e6, 1)


def serve(prefix, engine, requests):
    """Print a row, without its engine."""
    from gluon_a2 import data
    from gluon_a2.deploy import Classifier
    pictures = [data.decode(data.open_source(data.digits_folder(), 'val').read(i))
                for i in range(40)]
    classifier = Classifier(prefix, engine=engine)
    expected = [dict(classifier.predict(picture, 10)) for picture in pictures]

    def ask(number):
        begun = time.perf_counter()
        said = dict(classifier.predict(pictures[number % 40], 10))
        taken = time.perf_counter() - begun
        return taken, any(abs(said[name] - share) > 1e-5
                          for name, share in expected[number % 40].items())

    def many(count, threads):
        begun = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(ask, range(count)))
        rate = round(count / (time.perf_counter() - begun), 1)
        return rate, [taken for taken, _ in found], sum(wrong for _, wrong in found)

    (alone, _, wrong), memory = many(requests // 10, 1), []
    for part in (requests // 10, requests * 4 // 10, requests // 2):
        rate, taken, mistaken = many(part, THREADS)
        wrong += mistaken
        memory.append(resident())
    print(json.dumps({
        'requests': requests, 'threads': THREADS, 'wrong': wrong,
        'per_second_1_thread': alone, f'per_second_{THREADS}_threads': rate,
        'median_ms': round(1000 * statistics.median(taken), 1),
        'p99_ms': round(1000 * sorted(taken)[int(0.99 * len(taken))], 1),
        **dict(zip(('memory_first_mb', 'memory_half_mb', 'memory_last_mb'), memory)),
        'forked': forked(lambda: many(requests // 10, THREADS)[2])}))


def forked(answer):
    """'answers' where a fork finds nothing wrong, else what it does instead."""
    child = os.fork()
    if not child:
        os._exit(1 if answer() else 0)
    for _ in range(10 * SECONDS):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return 'answers' if status == 0 else f'ends with {status}'
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 'hangs'


def held(row):
    """Whether a row is as it should be."""
    grown = float(row['memory_last_mb']) - float(row['memory_half_mb'])
    return int(row['wrong']) == 0 and row['forked'] == 'answers' and grown <= GROWTH


@entry
def main(argv=None):
    """Export, serve in each engine, print, keep."""
    flags = parser(__doc__)
    flags.add_argument('--engines', nargs='+', choices=ENGINES, default=ENGINES)
    flags.add_argument('--requests', type=at_least(100), default=10000)
    flags.add_argument('--csv', type=Path, default=Path(__file__).with_suffix('.csv'))
    args = flags.parse_args(argv)
    from gluon_a2.deploy import write_bundle
    from gluon_a2.deploy.onnx import to_onnx
    from gluon_a2.deploy.precision import quiet
    from gluon_a2.run.network import from_zoo
    rows = {row['engine']: row for row in read_rows(args.csv)} if args.csv.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        network = from_zoo('a2_resnet26', class_names=list('0123456789'), input_size=32)
        with quiet():  # MXNet's converter speaks of each layer
            write_bundle(network, Path(folder) / 'net', to_onnx(network))
        for engine in args.engines:
            done = subprocess.run([sys.executable, __file__, '--serve', f'{folder}/net', engine,
                                   str(args.requests)], check=True, stdout=subprocess.PIPE,
                                  encoding='utf-8')
            rows[engine] = {'engine': engine, **json.loads(done.stdout.splitlines()[-1])}
    keep([rows[engine] for engine in ENGINES if engine in rows], args.csv)
    return 0 if all(map(held, rows.values())) else 1


if __name__ == '__main__':
    if sys.argv[1:2] == ['--serve']:
        serve(*sys.argv[2:4], int(sys.argv[4]))
    else:
        sys.exit(main())
