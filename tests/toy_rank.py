"""A rank with neither MXNet nor Horovod: steps of 20 ms, a barrier of files, and a fault where it
is asked for.

It is also a launcher, as the training script is: python tests/toy_rank.py -np 2 --save-dir FOLDER …
"""
import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gluon_a2.cli import entry
from gluon_a2.launch import launcher as launch
from gluon_a2.launch import watchdog


def arguments(argv):
    flags = argparse.ArgumentParser(allow_abbrev=False)
    launch.add_flags(flags)
    flags.add_argument('--save-dir', required=True)
    flags.add_argument('--resume', action='store_true')
    flags.add_argument('--overwrite', action='store_true')
    flags.add_argument('--timeout', type=float, default=1.5)
    flags.add_argument('--steps', type=int, default=10)
    flags.add_argument('--fault', default='none')
    flags.add_argument('--at-rank', type=int, default=0)
    flags.add_argument('--at-step', type=int, default=3)
    flags.add_argument('--until', type=int, default=1, help='starts of the job that have the fault')
    flags.add_argument('--foreign', action='store_true', help='run.json is of another launch')
    flags.add_argument('--no-heart', action='store_true')
    return flags.parse_args(argv)


class Toy:
    """One rank; the ranks of one start meet in a folder of their own."""

    def __init__(self, given):
        self.given = given
        self.rank, self.size = (int(os.environ.get(f'HOROVOD_{name}', number)) for name, number in
                                (('RANK', 0), ('SIZE', 1)))
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
        return self.rank == self.given.at_rank and self.start <= self.given.until

    def address(self, heart):
        path = self.meet / 'address'
        if self.rank == 0:
            path.with_suffix('.part').write_text(json.dumps(heart.serve()))
            path.with_suffix('.part').rename(path)
        while not path.exists():
            time.sleep(0.005)
        return json.loads(path.read_text())

    def run(self):
        if self.rank == 0 and not self.given.resume:
            made_by = 'somebody' if self.given.foreign else os.environ.get('GLUON_A2_LAUNCH')
            (self.folder / 'run.json').write_text(json.dumps({'launch': made_by}))
        self.gather('ready')
        stop = []
        signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
        heart = watchdog.Heart(self.rank, self.size, self.given.timeout, self.given.save_dir)
        heart.join(self.address(heart))
        with heart:
            for step in range(self.given.steps):
                heart.beat(step, 'compute')
                time.sleep(0.02)
                if step == self.given.at_step and self.faulty():
                    self.fault(heart, step)
                if (self.meet / 'stop').exists():
                    heart.done()
                    sys.exit(launch.PREEMPTED)
                heart.waiting(step)
                self.gather(f'step-{step}')
                if stop and step > 3:
                    (self.meet / 'stop').touch()
                self.gather(f'agreed-{step}')

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
        elif fault == 'leave':
            heart.done()
            for rest in range(step, self.given.steps):
                for name in ('step', 'agreed'):
                    (self.meet / f'{name}-{rest}-{self.rank}').touch()
            sys.exit(0)
        elif fault == 'unwatched':
            heart._process.kill()
            time.sleep(600)


@entry
def main(argv=None):
    given = arguments(argv)
    flags = {name: getattr(given, name) for name in launch.FLAGS}
    if launch.is_launcher(flags):
        sys.exit(launch.launch(flags, sys.argv, given.save_dir))
    if given.fault == 'lockstep':
        given.at_rank = int(os.environ.get('HOROVOD_RANK', 0))
    toy = Toy(given)
    if given.no_heart:
        sys.exit(int(given.fault) if toy.faulty() else 0)
    toy.run()


if __name__ == '__main__':
    main()
