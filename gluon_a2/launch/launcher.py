"""Start the ranks of a run on this machine and others, and start them again after a fault.

    gluon-a2 train-imagenet -np 4 --max-restarts 3 …
    gluon-a2 train-imagenet -np 16 -H node1:8,node2:8 …

The ranks are started directly and not with horovodrun, which loses their exit codes and kills them
5 s after SIGTERM.

SIGTERM and Ctrl-C are requests to save and stop. They go as SIGTERM to the ranks on this machine,
because the ranks agree on it. Where all are elsewhere they go as a line through the remote shells.
A later signal ends everything at once.
"""
from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Iterator, List, Sequence, Tuple

from ..errors import Interrupted, UserError
from ..machine.ranks import COLUMNS, LAUNCH, LAUNCHER, MISTAKE, PREEMPTED, TERMINATED
from .options import SSH, Processes, is_local
from .output import Output, bar_columns
from .process import Rank, meeting, own_address, remote_command, silence
from .protocol import Clock
from .rendezvous import serve
from .start import LIMIT

PATIENCE = 5    # s for the other ranks after the first has ended badly; watchdogs are faster
TELLING = 1.5   # s for the watchdogs to write fault.json after the last rank is gone
TOGETHER = 0.5  # s in which a signal may come twice: timeout signals a process and then its group
POLL = 0.05     # s
LONGEST = 60    # s between two starts; the first restart follows at once, then 1, 2, 4 …


class Job:
    """What all attempts of one launch share."""

    def __init__(self, processes: Processes, script: str, arguments: Sequence[str],
                 save_dir: str | Path, resume: bool = False, overwrite: bool = False,
                 rank_timeout: float = 20) -> None:
        self.processes, self.save_dir, self.rank_timeout = processes, Path(save_dir), rank_timeout
        self.resume, self.overwrite = resume, overwrite
        self.hosts, self.id = processes.read_hosts(), uuid.uuid4().hex
        self._script, self._arguments = script, arguments
        self.server: Any = None  # the rendezvous of an attempt of several ranks
        self.output: Any = None  # what the ranks of an attempt print
        self.lasting = False     # what went wrong would do so again

    def command(self, again: bool = False) -> list[str]:
        """The command line of a rank, in the first attempt or `again`."""
        resume = self.resumable() if again else self.resume
        mode = ['--resume'] if resume else ['--overwrite'] if self.overwrite else []
        return [sys.executable, self._script, *self._arguments, *mode,
                '--save-dir', str(self.save_dir)]

    def saved(self) -> list[str]:
        """The names of all checkpoints."""
        return sorted(path.name for path in self.save_dir.glob('checkpoints/step-*'))

    def late(self, ranks: list[Rank]) -> Rank | None:
        """A rank that should have shown itself by now, and has not."""
        limit = self.processes.start_timeout
        if self.server is None or time.monotonic() < self.server.begun + limit:
            return None
        return next((rank for rank in ranks if not self.server.shown(rank.number)), None)

    def resumable(self) -> bool:
        """Whether the run folder holds a run that `--resume` continues."""
        if self.resume:
            return True
        try:
            return json.loads((self.save_dir / 'run.json').read_bytes()).get('launch') == self.id
        except (FileNotFoundError, ValueError):
            return False


Signals = List[Tuple[int, float]]  # the number of each that came, and when


@contextlib.contextmanager
def _noted(*numbers: int) -> Iterator[Signals]:
    """While the block runs, these signals are noted and do not end this process."""
    signals: Signals = []
    before = {number: signal.signal(number, lambda number, _: signals.append(
        (number, time.monotonic()))) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _at_once(signals: Signals) -> bool:
    """Whether the launcher is not to wait any more."""
    return bool(signals) and signals[-1][1] - signals[0][1] > TOGETHER


def launch(processes: Processes, script: str, arguments: Sequence[str], save_dir: str | Path,
           resume: bool = False, overwrite: bool = False, rank_timeout: float = 20) -> int:
    """Start the ranks, wait for them, start them again after a fault; the exit code for this
    process.

    arguments: what `script` is given in every rank, besides `--save-dir` and, as they are asked
    for or needed, `--resume` and `--overwrite`. rank_timeout: seconds for all ranks to end after
    the first of them has, in order, or is stopped after its last word.

    0: all ranks ended well. 2: a rank has named a mistake of the user. 75: stopped on request,
    and saved. 143: terminated. 1: a fault, and no restarts left. Raises Interrupted after Ctrl-C.
    """
    job = Job(processes, script, arguments, save_dir, resume, overwrite, rank_timeout)
    restarts, code, pause, saved = processes.max_restarts, 1, 0.0, job.saved()
    with _noted(signal.SIGTERM, signal.SIGINT) as signals:
        for attempt in range(restarts + 1):
            if attempt:
                # without a new checkpoint, the same may well happen again
                before, saved = saved, job.saved()
                pause = min(LONGEST, 2 * pause or 1) if attempt > 1 and saved == before else 0.0
                if _interrupted(pause, signals):
                    code = TERMINATED
                    break
                goes_on = job.resumable() and saved
                _say(f'restart {attempt} of {restarts}: '
                     f'{"going on from the last checkpoint" if goes_on else "from the beginning"}')
            with contextlib.suppress(FileNotFoundError):
                (job.save_dir / 'fault.json').unlink()
            code = _attempt(job, job.command(attempt > 0), signals)
            if code != 1 or signals or job.lasting and not attempt:
                break
    if code in (PREEMPTED, TERMINATED) and any(number == signal.SIGINT for number, _ in signals):
        raise Interrupted(f'interrupted: `resume` with `save_dir` {job.save_dir} goes on'
                          if job.resumable() else 'interrupted')
    return code


def _interrupted(pause: float, signals: Signals) -> bool:
    """Wait; whether a signal came."""
    if pause > 2:
        _say(f'the next restart is in {pause:g} s')
    until = time.monotonic() + pause
    while time.monotonic() < until and not signals:
        time.sleep(POLL)
    return bool(signals)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _attempt(job: Job, command: list[str], signals: Signals) -> int:
    """Exit code of one start of all ranks."""
    ranks: list[Rank] = []
    first = None
    with contextlib.ExitStack() as stack:
        try:
            for start in _starts(job, command, stack):
                ranks.append(Rank(*start))
            job.output = Output(ranks, job.processes.ranks_filter)
            first = _wait(job, ranks, signals)
        finally:
            if _at_once(signals) or _was_told(first, signals):
                silence(ranks)
            for rank in ranks:
                rank.kill()
    job.output.drain()
    return _outcome(job, ranks, first, signals)


def _starts(job: Job, command: list[str], stack: contextlib.ExitStack) -> list[tuple]:
    """The arguments of every `Rank` to start."""
    given = job.processes
    common = {**os.environ, **given.variables(), LAUNCH: job.id}
    here = {LAUNCHER: str(os.getpid())}
    if given.num_proc == 1:
        return [(0, command, {**common, **here})]
    try:
        from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    except ImportError as error:
        raise UserError('several processes need Horovod, which is not installed: run make '
                        'horovod in the checkout') from error
    hosts = parse_hosts(','.join(f'{host}:{slots}' for host, slots in job.hosts))
    plan = get_host_assignments(hosts, given.num_proc, given.num_proc)
    elsewhere = [host for host, _ in job.hosts if not is_local(host)]
    address, starts = own_address(given, elsewhere), []
    server = job.server = serve(plan, address)
    stack.callback(server.close)
    common[LIMIT] = str(given.start_timeout)
    # by default much, because the watchdog finds a lost rank sooner
    common.setdefault('HOROVOD_GLOO_TIMEOUT_SECONDS', '300')
    common[COLUMNS] = str(bar_columns(elsewhere, given.ranks_filter))
    for slot in plan:
        local, line = is_local(slot.hostname), command
        variables = {**common, **meeting(slot, (address, server.server_port),
                                         given.network_interface), **(here if local else {})}
        if not local:
            line = remote_command(given.remote_shell or SSH, slot.hostname, command, variables,
                                  given.variables())
        starts.append((slot.rank, line, variables, local, server.secret))
    return starts


def _first_bad(ranks: list[Rank]) -> Rank | None:
    fine = None, 0, PREEMPTED, Interrupted.exit_code  # a rank that Ctrl-C reached has saved, too
    return next((rank for rank in ranks if rank.poll() not in fine), None)


def _was_told(rank: Rank | None, signals: Signals) -> bool:
    """Whether it has ended because it was asked to stop, before it could save."""
    return bool(signals) and rank is not None and (
        rank.returncode == -signal.SIGTERM or not rank.local)


def _wait(job: Job, ranks: list[Rank], signals: Signals) -> Rank | None:
    """Wait until all have ended, or a while after one has; the first that ended badly, or a rank
    that did not end with the others, or None."""
    first: Rank | None = None
    deadline: float | None = None
    asked, clock = False, Clock(1)
    while any(rank.poll() is None for rank in ranks) and not _at_once(signals):
        if signals and not asked:
            asked = True
            if signals[0][0] == signal.SIGINT:
                _say('interrupted: saving at the next step; another Ctrl-C ends at once')
            for rank in [rank for rank in ranks if rank.local] or ranks:
                rank.stop()
        clock.tick()
        before, first = first, first or _first_bad(ranks)
        ended = any(rank.is_over() for rank in ranks)
        late = None if first else job.late(ranks)
        if late:
            late.late = job.processes.start_timeout
            return late
        if first is not before or ended and deadline is None:
            deadline = clock.now + (PATIENCE if first else job.rank_timeout)
        if deadline is not None and clock.now > deadline:
            break
        time.sleep(POLL)
    return first or _first_bad(ranks) or next((rank for rank in ranks if rank.poll() is None), None)


def _outcome(job: Job, ranks: list[Rank], first: Rank | None, signals: Signals) -> int:
    """Exit code of an attempt whose ranks are all gone; says a fault in one line."""
    codes = [rank.returncode for rank in ranks]
    if _at_once(signals):
        return TERMINATED
    if first is None:
        return PREEMPTED if any(codes) else 0
    for rank in sorted(ranks, key=lambda rank: rank is first):
        sys.stderr.write(job.output.last_words(rank))
    mistaken = next((rank for rank in ranks if rank.returncode == MISTAKE), None)
    if mistaken:
        if _shell_failed(job, mistaken):  # Python ends with the same code where a script is missing
            _say(_ending(job, mistaken))
        return MISTAKE
    if _was_told(first, signals):
        _say('asked to stop, and ended before all ranks had saved')
        return TERMINATED
    culprit = first if first.late else _culprit(job, ranks, first)
    job.lasting = bool(first.late) or _shell_failed(job, culprit)
    _say(_ending(job, culprit))
    return 1


def _ending(job: Job, rank: Rank) -> str:
    return rank.ending() + (' before it started: see above what its remote shell says'
                            if _shell_failed(job, rank) else '')


def _shell_failed(job: Job, rank: Rank) -> bool:
    """Whether the remote shell ended, and the rank had not even started: no way to the host, no
    permission, no Python there."""
    return not rank.local and rank.returncode > 0 and not job.server.shown(rank.number)


def _culprit(job: Job, ranks: list[Rank], first: Rank) -> Rank:
    """The rank that the watchdogs found at fault, else the first that ended badly."""
    path, until = job.save_dir / 'fault.json', time.monotonic() + TELLING
    while not path.exists() and time.monotonic() < until:
        time.sleep(POLL)
    try:
        number = json.loads(path.read_bytes())['rank']
    except FileNotFoundError:
        number = None
    return first if number is None else ranks[number]
