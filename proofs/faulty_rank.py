"""train_imagenet.py with a fault of its own, where one is asked for: A2_FAULT='<rank> <step>
<kind>'."""
import os
import signal
import sys
import time
from pathlib import Path

import job  # noqa: F401 (it makes the scripts importable)
import train_imagenet


def fail_at(rank, step, kind):
    """Have the rank fail where it begins the step, unless it is a resumed one."""
    from gluon_a2.backend import mx
    from gluon_a2.train import preflight
    from gluon_a2.train.loop import Loop
    original = Loop.train_step

    def train_step(self, batches, lr):
        if (self.group.rank, self.at.step) == (rank, step) and not self.options.resume:
            Path(f'{self.run.folder}.fault').touch()  # for whoever measures from when on
            if kind in ('SIGKILL', 'SIGSTOP', 'SIGTERM'):
                os.kill(os.getpid(), getattr(signal, kind))
            elif kind == 'sleep':
                time.sleep(600)
            elif kind == 'raise':
                raise RuntimeError('a defect')
            elif kind == 'exit':
                sys.exit(0)
            elif kind == 'nan':
                self.stepper.parameters['fc_bias'].data()[:] = float('nan')
                mx.nd.waitall()
        return original(self, batches, lr)

    check = preflight.check

    def early(group, recipe, options, *rest):
        once = Path(f'{options.save_dir}.killed')
        if kind == 'early' and group.rank == rank and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        check(group, recipe, options, *rest)

    Loop.train_step, preflight.check = train_step, early


if __name__ == '__main__':
    if os.environ.get('A2_FAULT') and os.environ.get('GLUON_A2_LAUNCH'):
        number, at, what = os.environ['A2_FAULT'].split()
        fail_at(int(number), int(at), what)
    train_imagenet.main()
