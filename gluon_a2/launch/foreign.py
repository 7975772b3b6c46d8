"""Other launchers: their flags, with what to give here instead, and processes they have started."""
from __future__ import annotations

import os
from typing import Mapping

from ..errors import UserError
from ..machine.ranks import SIZE

_ONCE = 'leave it out, because the launcher runs on one machine, and starts the ranks of all'
_NETWORK = 'give --network-interface'
_FILTER = 'give --ranks-filter, which chooses the ranks whose lines are shown'
_SAVED = 'redirect the output of the launcher, whose lines name rank and host'
_GLOO = 'leave it out, because the ranks meet by Gloo'
_SSH = 'give it in --remote-shell, as in "ssh -p 2222 -i FILE {host}", or in ~/.ssh/config'
_SIZE = 'give --max-restarts, because a job goes on with as many ranks as before'

FLAGS = {
    'torchrun': {
        'nproc-per-node': 'give -np, the ranks of all hosts together',
        'nnodes': 'name the hosts, as in -H node1:8,node2:8',
        'node-rank': _ONCE, 'standalone': _ONCE, 'rdzv-backend': _ONCE, 'rdzv-id': _ONCE,
        'rdzv-endpoint': _NETWORK, 'master-addr': _NETWORK, 'local-addr': _NETWORK,
        'master-port': 'leave it out, because the port is found',
        'local-ranks-filter': _FILTER, 'tee': _FILTER, 'redirects': _FILTER, 'log-dir': _SAVED},
    'horovodrun': {
        'gloo': _GLOO, 'mpi': _GLOO, 'mpi-args': _GLOO,
        'check-build': 'run the command doctor (gluon-a2 doctor), or --check for all hosts',
        'network-interfaces': _NETWORK, 'output-filename': _SAVED,
        'ssh-port': _SSH, 'ssh-identity-file': _SSH, 'min-np': _SIZE, 'max-np': _SIZE}}

# the variable by which another launcher says how many processes it has started, and its own mark
COPIES = (('torchrun', 'WORLD_SIZE', 'TORCHELASTIC_RUN_ID'),
          ('srun', 'SLURM_STEP_NUM_TASKS', 'SLURM_STEP_NUM_TASKS'),
          ('mpiexec', 'PMI_SIZE', 'PMI_RANK'))


def refuse_copies(environ: Mapping[str, str] = os.environ) -> None:
    """UserError where another launcher has started several of this process, each of which would
    train alone, and all into one folder."""
    for launcher, size, mark in () if any(name in environ for name in SIZE) else COPIES:
        count = environ.get(size, '')
        if mark in environ and count.isdigit() and int(count) > 1:
            raise UserError(f'{launcher} has started {count} of these, and none knows of the '
                            f'others ({size} is set): start one, with `num_proc` {count}')
