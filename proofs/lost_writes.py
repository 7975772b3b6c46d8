#!/usr/bin/env python3
"""A power cut loses whatever was not synced, in any selection: is the newest checkpoint that was
announced still there, and valid?

    python proofs/lost_writes.py
    python proofs/lost_writes.py --show 4711    # what happened, and what was left

History `i` of a seed is always the same: some saves in a new run folder (steps in order, a step
again, the best, going on after an end), a cut at any operation on files, and a selection of the
writes, renames, creations and removals that no fsync had made certain (see `recorded_disk.py`).
Afterwards the newest checkpoint and the best must be the announced ones, or those whose save was
under way, bit for bit; and going on must work. Prints and keeps `lost_writes.csv`, a row a kind of
operation before which it was cut; ends with 1 if anything was violated. No MXNet.
"""
import collections
import functools
import logging
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import job  # noqa: F401 (it makes `bench` importable)
from bench import at_least, keep
from checkpoint_faults import state, tensors
from recorded_disk import Disk, recording, write_out
from tqdm import tqdm

from gluon_a2.cli import entry, parser
from gluon_a2.run import checkpoint

CUTS = 10  # of one recording
FOLDER = 'run/checkpoints'


def perform(rng, folder, note):
    """Saves in `folder`.

    `note` is called before and after each save with what is expected from then on, {(newest,
    best)}. A checkpoint is (step, which try) or None.
    """
    folder, step, tries, newest, best = folder / FOLDER, 0, collections.Counter(), None, None
    for _ in range(rng.randint(1, 5)):
        what = rng.choice(['new', 'new', 'new', 'again', 'resume']) if step else 'new'
        if what == 'resume':
            checkpoint.remove_unfinished(folder)
            continue
        step += what == 'new'
        key = step, tries[step]
        tries[step] += 1
        better = best is None or rng.random() < 0.4
        after = key, key if better else best
        note({(newest, best), (key, best), after})
        checkpoint.save(folder, step, tensors(*key), state(*key), best=better)
        newest, best = after
        note({after})


@functools.lru_cache(maxsize=99)
def _bytes_of(key):
    return {name: array.tobytes() for name, array in tensors(*key).items()}


def identify(found):
    """The key of a `Checkpoint` that holds, bit for bit, what was given; None without one."""
    if found is None:
        return None
    key = found.state['at']['step'], found.state['try']
    same = found.state == state(*key) and _bytes_of(key) == {
        name: array.tobytes() for name, array in found.tensors.items()}
    return key if same else 'unknown'


def record(rng, scratch):
    """([operation], [(from which operation on, what is expected)])."""
    root, expected = Path(tempfile.mkdtemp(dir=scratch)), [(0, {(None, None)})]
    (root / 'run').mkdir()  # with run.json in it, synced, and known to the system
    with recording(root) as done:
        perform(rng, root, lambda states: expected.append((len(done), states)))
    shutil.rmtree(root)
    return [('mkdir', 'run'), ('sync', '.'), *done], [(at + 2, states) for at, states in expected]


def violations(place, allowed):
    """What is wrong with a folder that a cut has left; `allowed` are pairs of newest and best."""
    folder = place / FOLDER
    try:
        newest = identify(checkpoint.newest(folder))
        best = identify(checkpoint.find(folder, 'best')) if (
            folder / checkpoint.BEST).exists() else None
    except checkpoint.CheckpointError as error:
        return [f'the best is lost: {error}']
    wrong = []
    if newest not in {pair[0] for pair in allowed}:
        wrong.append(f'newest is {newest}')
    if best not in {pair[1] for pair in allowed}:
        wrong.append(f'best is {best}')
    if folder.exists():
        checkpoint.remove_unfinished(folder)
    checkpoint.save(folder, 9, tensors(9), state(9))
    if identify(checkpoint.newest(folder)) != (9, 0):
        wrong.append('the next save is not the newest')
    return wrong


def cut(rng, operations, expected, scratch):
    """(operation before which it is cut, what is wrong, files that are left)."""
    at = rng.randint(2, len(operations))
    disk = Disk()
    for operation in operations[:at]:
        disk.apply(*operation)
    allowed = next(states for begin, states in reversed(expected) if begin <= at)
    files = disk.after_cut(rng)
    place = Path(tempfile.mkdtemp(dir=scratch))
    write_out(files, place)
    wrong = violations(place, allowed)
    shutil.rmtree(place)
    return operations[at:at + 1] or [('end', '')], wrong, (at, allowed, files)


def histories(count, seed, scratch):
    """(number, operation, what is wrong, details) of each."""
    for number in range(count):
        if number % CUTS == 0:
            recorded = record(random.Random(f'{seed} {number}'), scratch)
        (before,), *found = cut(random.Random(f'{seed} cut {number}'), *recorded, scratch)
        yield number, before, *found, recorded[0]


def tell(at, allowed, files, operations):
    """Print a history."""
    for operation in operations[:at]:
        print(*[f'{len(part)} bytes' if isinstance(part, bytes) else part for part in operation])
    print('left:')
    for path, content in files.items():
        print('   ', path, '' if content is None else f'{len(content)} bytes')
    print('expected (newest, best):', allowed)


def survey(count, seed, scratch):
    """Rows of the CSV."""
    counts = collections.Counter()
    for number, before, wrong, *_ in tqdm(histories(count, seed, scratch), total=count,
                                          unit='history', disable=None):
        counts[before[0], 'histories'] += 1
        counts[before[0], 'violations'] += bool(wrong)
        if wrong:
            print(f'history {number}, before {before[0]} {before[1]}: {"; ".join(wrong)}',
                  file=sys.stderr)
    return [{'cut_before': name, **{what: counts[name, what]
                                    for what in ('histories', 'violations')}}
            for name in sorted({name for name, _ in counts})]


@entry
def main(argv=None):
    """Returns the exit code."""
    flags = parser(__doc__)
    flags.add_argument('--count', type=at_least(1), default=10_000, metavar='N', help='histories')
    flags.add_argument('--seed', type=int, default=1)
    flags.add_argument('--show', type=at_least(0), metavar='I', help='tell one history, no more')
    flags.add_argument('--out', default=Path(__file__).with_suffix('.csv'), metavar='CSV')
    args = flags.parse_args(argv)
    logging.disable(logging.WARNING)  # damaged checkpoints are what we come for
    memory = '/dev/shm'  # where syncs take no time
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as scratch:
        if args.show is not None:
            *_, wrong, details, operations = list(histories(args.show + 1, args.seed, scratch))[-1]
            tell(*details, operations)
            print('; '.join(wrong) or 'good')
            return int(bool(wrong))
        rows = survey(args.count, args.seed, scratch)
    keep(rows, args.out)
    bad = sum(row['violations'] for row in rows)
    print(f'{args.count:,} histories, {bad} violations')
    return int(bad > 0)


if __name__ == '__main__':
    sys.exit(main())
