"""A rank with neither MXNet nor Horovod: steps of 20 ms, a barrier of files, and a fault where it
is asked for.

It is also a launcher, as the training script is: python tests/toy_rank.py -np 2 --save-dir FOLDER …
"""
import dataclasses
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry, parser
from gluon_a2.flags import REQUIRED, add_flags, from_args, option, to_args
from gluon_a2.launch import start
from gluon_a2.launch.heart import Heart
from gluon_a2.launch.launcher import launch
from gluon_a2.launch.options import Processes
from gluon_a2.machine import ranks


@dataclass(frozen=True)
class Given:
    """What a rank is to do."""

    save_dir: str = option(REQUIRED, 'run folder')
    resume: bool = option(False, 'set by the launcher')
    overwrite: bool = option(False, 'passed on by the launcher')
    timeout: float = option(1.5, 'of the watchdog, s')
    steps: int = option(10, 'steps to take')
    fault: str = option('none', 'what goes wrong')
    at_rank: int = option(0, 'where it goes wrong; -1: everywhere')
    at_step: int = option(3, 'when it goes wrong')
    until: int = option(1, 'starts of the job that have the fault')
    foreign: bool = option(False, 'run.json is of another launch')
    no_heart: bool = option(False, 'only end, with the exit code that is the fault')


class Toy:
    """One rank; the ranks of one start meet in a folder of their own."""

    def __init__(self, given):
        self.given = given
        self.rank, self.size = ranks.rank(), ranks.ranks()
        self.folder = Path(given.save_dir)
        self.meet = self.folder / f'meet-{os.environ.get("HOROVOD_GLOO_RENDEZVOUS_PORT", 0)}'
        self.meet.mkdir(parents=True, exist_ok=True)
        with open(self.folder / 'starts', 'a') as file:
            file.write(json.dumps({'rank': self.rank, 'argv': sys.argv[1:], 'pid': os.getpid(),
                                   'hostname': os.environ.get('STUB')}) + '\n')
        self.start = (self.folder / 'starts').read_text().count(f'"rank": {self.rank},')

    def gather(self, name):
        """Wait until all ranks are here."""
        (self.meet / f'{name}-{self.rank}').touch()
        while not all((self.meet / f'{name}-{rank}').exists() for rank in range(self.size)):
            time.sleep(0.005)

    def faulty(self):
        return self.given.at_rank in (-1, self.rank) and self.start <= self.given.until

    def address(self, heart):
        path = self.meet / 'address'
        if self.rank == 0:
            path.with_suffix('.part').write_text(json.dumps(heart.address))
            path.with_suffix('.part').rename(path)
        while not path.exists():
            time.sleep(0.005)
        return json.loads(path.read_text())

    def run(self):
        if self.rank == 0 and not self.given.resume:
            made_by = 'somebody' if self.given.foreign else ranks.launch_id()
            (self.folder / 'run.json').write_text(json.dumps({'launch': made_by}))
        if self.given.fault == 'absent' and self.faulty():
            time.sleep(600)
        self.gather('ready')
        stop = []
        signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
        heart = Heart(self.rank, self.size, self.given.timeout, self.given.save_dir)
        heart.join(self.address(heart))
        with heart:
            for step in range(self.given.steps):
                heart.beat(step, 'compute')
                time.sleep(0.02)
                if step == self.given.at_step and self.faulty():
                    self.fault(heart, step)
                if (self.meet / 'stop').exists():
                    heart.done()
                    sys.exit(ranks.PREEMPTED)
                heart.waiting(step)
                self.gather(f'step-{step}')
                if stop and step > 3:
                    (self.meet / 'stop').touch()
                self.gather(f'agreed-{step}')
        if self.given.fault == 'linger' and self.faulty():
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.given.fault == 'slow end' and self.faulty():
            time.sleep(2 * self.given.timeout)

    def fault(self, heart, step):
        fault = self.given.fault
        if fault == 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == 'stop':
            os.kill(os.getpid(), signal.SIGSTOP)
        elif fault == 'sleep':
            time.sleep(600)
        elif fault == 'raise':
            raise ValueError('the dog ate it')
        elif fault == 'mistake':
            heart.fail('a mistake')
            sys.exit(2)
        elif fault == 'exit':
            sys.exit(0)
        elif fault == 'hang':  # in a collective that never returns: so do all others
            heart.waiting(step)
            time.sleep(600)
        elif fault == 'lockstep':  # busy for long, and nobody waits: all ranks come here
            time.sleep(3 * self.given.timeout)
        elif fault == 'alone':
            with heart.during(step, 'report'):
                time.sleep(2 * self.given.timeout)
        elif fault == 'leave':
            heart.done()
            for rest in range(step, self.given.steps):
                for name in ('step', 'agreed'):
                    (self.meet / f'{name}-{rest}-{self.rank}').touch()
            sys.exit(0)
        elif fault in ('unwatched', 'overlooked', 'overlooked death'):
            number = signal.SIGKILL if fault == 'unwatched' else signal.SIGSTOP
            heart._process.send_signal(number)
            if fault == 'overlooked death':
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)


@entry
def main(argv=None):
    flags = parser(__doc__)
    for cls in (Processes, Given):
        add_flags(flags, cls)
    namespace = flags.parse_args(argv)
    processes, given = from_args(Processes, namespace), from_args(Given, namespace)
    if processes.is_launcher():
        own = to_args(Given, vars(namespace), skip=('save_dir', 'resume', 'overwrite'))
        sys.exit(launch(processes, sys.argv[0], own, given.save_dir, given.resume,
                        given.overwrite, given.timeout))
    if given.fault == 'lockstep':
        given = dataclasses.replace(given, at_rank=ranks.rank())
    start.show()
    toy = Toy(given)
    if given.no_heart:
        sys.exit(int(given.fault) if toy.faulty() else 0)
    toy.run()


if __name__ == '__main__':
    main()
