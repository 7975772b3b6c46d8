#!/usr/bin/env python3
"""Does the hub name the culprit, never an innocent rank, and does every job end? 100,000 schedules.

    python proofs/simulate_ranks.py
    python proofs/simulate_ranks.py --show 4711     # tell the story of one schedule

Schedule `i` of a seed is always the same job in simulated time (see `simulated_job.py`): some hosts
with some ranks, the delays of work, network and processor, when Horovod notices what, and one of
the troubles below. The watchdogs, the hub and its judge are the real code.

    in_order    the job came to its end: the trouble was none, or too late
    named       the verdict names ranks that the trouble befell, and no other
    not_told    the verdict says what is wrong and names no rank
    no_hub      the trouble befell the hub itself: each watchdog ends its rank
    innocent    a rank is named that the trouble did not befall
    wrong       a verdict without a trouble, or none in spite of one
    hung        a process is left after the limit

`slowest` is the longest time from the trouble to the end of the last process, in --rank-timeouts.
Prints and keeps `simulate_ranks.csv`, which grows: the schedules that are in it are not tried
again, so that it can be stopped and goes on; delete it to begin anew. Ends with 1 where anyone
innocent is named, anything is wrong or hangs.
"""
import collections
import concurrent.futures
import random
import re
import sys
from pathlib import Path

import job  # noqa: F401 (it makes `bench` importable)
from bench import at_least, keep, read_rows
from simulated_job import FOREVER, World
from tqdm import tqdm

from gluon_a2.cli import entry, parser
from gluon_a2.launch.heart import ALONE
from gluon_a2.launch.judge import STALLED

OUTCOMES = ('in_order', 'named', 'not_told', 'no_hub', 'innocent', 'wrong', 'hung')
DEFECTS = OUTCOMES[-3:]
SHARE = 540  # schedules that a process takes at once
SLACK = 10  # s beyond the timeouts below, for joining, lingering and slow processors


# ---- troubles: each returns the ranks that it befalls

def some(world):
    """One rank, drawn."""
    return world.rng.choice(world.ranks)


def numbers(ranks):
    """Their numbers."""
    return {rank.number for rank in ranks}


def of_host(world, *hosts):
    """The numbers of the ranks on hosts."""
    return numbers(rank for rank in world.ranks if rank.host in hosts)


def hosts_of(world):
    """All hosts; that of the hub first."""
    return list(dict.fromkeys(rank.host for rank in world.ranks))


def nothing(world):
    """All goes well."""


def slow_rank(world):
    """A rank is slow, within the timeout."""
    rank = some(world)
    rank.slow = {step: world.rng.random() * 0.6 * world.timeout for step in range(world.steps)}


def busy_machines(world):
    """Every process waits long for a processor."""
    world.scheduling = 0.1 * world.timeout


def pause(world):
    """All machines are suspended for minutes."""
    until = world.now + world.rng.uniform(1, 60) * world.timeout
    for process in world.processes():
        process.stop(until + world.rng.random())


def host_pauses(world):
    """All processes of a host stand still for a moment."""
    until = world.now + world.rng.uniform(0.1, 0.6) * world.timeout
    for process in world.on(world.rng.choice(hosts_of(world))):
        process.stop(until)


def packets_lost(world):
    """A host's network is gone for a moment."""
    hosts = hosts_of(world)
    world.block([world.rng.choice(hosts)], hosts,
                world.now + world.rng.uniform(0.1, 0.6) * world.timeout)


def leaves_at_nan(world):
    """All ranks meet NaN at the same step, say so and end in order."""
    world.nan_at = max(rank.step for rank in world.ranks) + 1


def killed(world):
    """SIGKILL."""
    rank = some(world)
    rank.crash()
    return {rank.number}


def stopped(world):
    """SIGSTOP."""
    rank = some(world)
    rank.stop()
    return {rank.number}


def asleep(world):
    """The main thread does not come back."""
    return doomed(world, 'sleeps')


def raises(world):
    """An exception."""
    return doomed(world, 'raises')


def exits(world):
    """sys.exit."""
    return doomed(world, 'exits')


def doomed(world, how):
    """One rank is to end so."""
    rank = some(world)
    rank.doom = how
    return {rank.number}


def two_killed(world):
    """Two ranks, one after the other."""
    first, second = world.rng.sample(world.ranks, 2)
    first.crash()
    world.at(world.now + world.rng.random() * world.timeout, second.crash)
    return numbers([first, second])


def killed_and_asleep(world):
    """One rank sleeps, another one is killed later."""
    first, second = world.rng.sample(world.ranks, 2)
    first.doom = 'sleeps'
    world.at(world.now + world.rng.random() * world.timeout, second.crash)
    return numbers([first, second])


def out_of_memory(world):
    """All ranks of a host are killed."""
    host = world.rng.choice(hosts_of(world))
    for rank in world.ranks:
        if rank.host == host:
            world.at(world.now + world.rng.random(), rank.crash)
    return of_host(world, host)


def all_killed(world):
    """All ranks at once."""
    for rank in world.ranks:
        rank.crash()
    return numbers(world.ranks)


def launcher_killed(world):
    """The kernel kills its ranks, and those on other hosts follow."""
    world.launcher.die()
    for rank in world.ranks:
        world.at(world.now + (rank.host != 'a') * world.rng.uniform(0.1, 1), rank.crash)
    return of_host(world, 'a')


def watchdog_killed(world):
    """The watchdog of any rank, which may be the hub's."""
    guard = world.rng.choice(world.guards)
    guard.die()
    return {guard.rank}


def watchdog_stopped(world):
    """SIGSTOP to a watchdog."""
    guard = world.rng.choice(world.guards)
    guard.stop()
    guard.excused = True
    return {guard.rank}


def other_version(world):
    """A watchdog says what no watchdog says."""
    guard = world.rng.choice(world.guards)
    guard.at = {'step': 'x', 'phase': 1, 'waiting': None}
    guard.hear = lambda message: None
    return {guard.rank}


def walled(world):
    """A watchdog never reaches the hub."""
    guard = world.rng.choice(world.guards[1:])
    guard.walled = True
    return {guard.rank}


def machine_gone(world):
    """A host is without power."""
    host = world.rng.choice(hosts_of(world))
    world.block([host], hosts_of(world))
    for process in world.on(host):
        process.die(vanish=True)
    return of_host(world, host)


def cut_off(world):
    """A host that is not the hub's loses its network, for ever or for long."""
    return _cut(world, world.rng.choice(hosts_of(world)[1:]))


def hub_cut_off(world):
    """The hub's host loses its network."""
    return _cut(world, 'a')


def link_cut(world):
    """Two hosts do not reach each other any more, but all others."""
    pair = world.rng.sample(hosts_of(world), 2)
    world.block(pair, pair, _for_long(world))
    return of_host(world, *pair)


def _cut(world, host):
    hosts = hosts_of(world)
    world.block([host], hosts, _for_long(world))
    # which one of two it is, nobody can know
    return of_host(world, host) if len(hosts) > 2 else numbers(world.ranks)


def _for_long(world):
    return world.rng.choice([FOREVER, world.now + world.rng.uniform(2, 4) * world.timeout])


def deadlock(world):
    """A collective operation never returns."""
    world.broken = True
    return set()


def all_asleep(world):
    """As on a file system that hangs."""
    for rank in world.ranks:
        rank.doom = 'sleeps'
    return numbers(world.ranks)


# each with the hosts it takes
HARMLESS = {nothing: 1, slow_rank: 1, busy_machines: 1, pause: 1, host_pauses: 1, packets_lost: 2,
            leaves_at_nan: 1}
TROUBLES = {killed: 1, stopped: 1, asleep: 1, raises: 1, exits: 1, two_killed: 1,
            killed_and_asleep: 1, out_of_memory: 1, all_killed: 1, launcher_killed: 1,
            watchdog_killed: 1, watchdog_stopped: 1, other_version: 1, walled: 1, machine_gone: 2,
            cut_off: 2, hub_cut_off: 2, link_cut: 3, deadlock: 1, all_asleep: 1}
KINDS = [*HARMLESS, *TROUBLES]
OF_HUB = watchdog_killed, watchdog_stopped, machine_gone  # which they may take away
EARLY = slow_rank, busy_machines, walled  # they begin with the job
LIMIT = 2 * ALONE  # timeouts from the trouble until all has ended, and more:
LIMITS = {all_asleep: STALLED + 2, pause: 80}


# ---- a schedule

def simulate(seed, number):
    """(kind, outcome, seconds from the trouble to the end, `World`) of a schedule."""
    rng, kind = random.Random(f'{seed} {number}'), KINDS[number % len(KINDS)]
    least = {**HARMLESS, **TROUBLES}[kind]
    hosts = max(least, rng.choice([1, 2, 2, 3, 4]))
    each = rng.choice([1, 1, 2, 2, 3]) if hosts > 1 else rng.choice([2, 3, 4])
    world = World(rng, dict.fromkeys('abcd'[:hosts], each), timeout=rng.choice([6, 10, 10, 20]),
                  steps=rng.randint(3, 6))
    if kind in HARMLESS:
        world.patience = FOREVER
    struck = []

    def strike():
        if kind not in EARLY and any(rank.at[0] is None for rank in world.ranks):
            world.at(world.now + 1, strike)
            return
        world.troubled = kind in TROUBLES
        struck.append((world.now, kind(world)))
        world.note(f'trouble: {kind.__name__}, of {struck[0][1]}')
    when = 0 if kind in EARLY else rng.random() * 2 * world.timeout
    with world.in_place_of_the_system():
        world.begin()
        world.at(when, strike)
        ended = world.run(when + LIMITS.get(kind, LIMIT) * world.timeout + SLACK)
    since = struck[0][0] if struck else world.now
    return kind, outcome(kind, world, struck, ended), world.now - since, world


def outcome(kind, world, struck, ended):
    """One of OUTCOMES."""
    if not ended:
        return 'hung'
    in_order = all(rank.in_order for rank in world.ranks)
    if not world.verdicts:
        if in_order:
            return 'in_order'
        return 'no_hub' if kind in OF_HUB and 0 in struck[0][1] else 'wrong'
    named = {int(found) for found in re.findall(r'rank (\d+)', world.verdicts[0])}
    if kind in HARMLESS or not struck:
        return 'innocent' if named else 'wrong'
    if named - struck[0][1]:
        return 'innocent'
    return 'named' if named else 'not_told'


def survey(schedules, seed):
    """{kind of trouble: {outcome: how many}} and {kind: slowest}, in timeouts, of some."""
    counts = {kind.__name__: collections.Counter() for kind in KINDS}
    slowest = collections.Counter()
    for number in schedules:
        kind, end, seconds, world = simulate(seed, number)
        counts[kind.__name__][end] += 1
        if end in DEFECTS:
            print(f'schedule {number}: {kind.__name__}: {end}', file=sys.stderr)
        if end not in ('in_order', 'hung'):
            slowest[kind.__name__] = max(slowest[kind.__name__], seconds / world.timeout)
    return counts, slowest


def earlier(path):
    """The survey, as above, that a CSV file is of; none tried where there is no file."""
    rows = read_rows(path) if Path(path).exists() else []
    return ({row['trouble']: collections.Counter({end: int(row[end]) for end in OUTCOMES})
             for row in rows},
            collections.Counter({row['trouble']: float(row['slowest']) for row in rows}))


def tabulate(surveys):
    """A row a kind of trouble, of several surveys."""
    surveys = list(surveys)
    for name in (kind.__name__ for kind in KINDS):
        counts = sum((counts.get(name, collections.Counter()) for counts, _ in surveys),
                     collections.Counter())
        yield {'trouble': name, 'schedules': sum(counts.values()),
               **{end: counts[end] for end in OUTCOMES},
               'slowest': round(max(slowest[name] for _, slowest in surveys), 1)}


@entry
def main(argv=None):
    """Returns the exit code."""
    flags = parser(__doc__)
    flags.add_argument('--count', type=at_least(1), default=100_000, metavar='N', help='schedules')
    flags.add_argument('--seed', type=int, default=1)
    flags.add_argument('--jobs', type=at_least(1), metavar='N', help='processes (the CPUs)')
    flags.add_argument('--show', type=at_least(0), metavar='I', help='tell one schedule, no more')
    flags.add_argument('--out', default=Path(__file__).with_suffix('.csv'), metavar='CSV')
    args = flags.parse_args(argv)
    if args.show is not None:
        *_, end, seconds, world = simulate(args.seed, args.show)
        print('\n'.join([*world.story, f'{end} after {seconds:.1f} s']))
        return int(end in DEFECTS)
    surveys = [earlier(args.out)]
    done = sum(sum(counts.values()) for counts in surveys[0][0].values())
    shares = [range(start, min(start + SHARE, args.count))
              for start in range(done, args.count, SHARE)]
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        found = pool.map(survey, shares, [args.seed] * len(shares))
        for share in tqdm(found, total=len(shares), unit='share', disable=None):
            surveys.append(share)
            keep(list(tabulate(surveys)), args.out, show=False)
    rows = list(tabulate(surveys))
    keep(rows, args.out)
    defects = {end: sum(row[end] for row in rows) for end in DEFECTS}
    print(f'{sum(row["schedules"] for row in rows):,} schedules: ' + ', '.join(f'{number} {end}'
                                                    for end, number in defects.items()))
    return int(any(defects.values()))


if __name__ == '__main__':
    sys.exit(main())
