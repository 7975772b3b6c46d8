"""What a rank and whoever started it have agreed on: environment variables and exit codes."""
from __future__ import annotations

import os
from typing import Mapping

from ..errors import UserError

LAUNCH = 'GLUON_A2_LAUNCH'  # the number of the launch, set by our own launcher
LAUNCHER = 'GLUON_A2_LAUNCHER'  # its process number, set for the ranks on its machine
STOP = b'stop\n'  # a line by which the launcher asks a rank elsewhere to save and stop
STDERR = 'GLUON_A2_STDERR'  # its stderr, a file descriptor, set for the ranks on its machine
COLUMNS = 'GLUON_A2_COLUMNS'  # the width of the progress bar on its terminal; 0: none
# where launchers say how many ranks there are, and which of them this process is
SIZE = ('HOROVOD_SIZE', 'OMPI_COMM_WORLD_SIZE')
RANK = ('HOROVOD_RANK', 'OMPI_COMM_WORLD_RANK')

MISTAKE = UserError.exit_code  # the user's: a rank has named it
PREEMPTED = 75  # EX_TEMPFAIL: stopped on request, and saved
TERMINATED = 143


def ranks(environ: Mapping[str, str] = os.environ) -> int:
    """How many ranks this job has; 1 without a launcher."""
    return next((int(environ[name]) for name in SIZE if environ.get(name, '').isdigit()), 1)


def rank(environ: Mapping[str, str] = os.environ) -> int:
    """Which rank this process is; 0 without a launcher."""
    return next((int(environ[name]) for name in RANK if environ.get(name, '').isdigit()), 0)


def launch_id(environ: Mapping[str, str] = os.environ) -> str | None:
    """The number of the launch that this rank belongs to; None without our own launcher."""
    return environ.get(LAUNCH)


def launched_by(environ: Mapping[str, str] = os.environ) -> str | None:
    """The variable by which a launcher has shown that it started this process, or None."""
    return next((name for name in (LAUNCH, *RANK) if name in environ), None)
