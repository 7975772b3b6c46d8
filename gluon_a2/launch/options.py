"""What is asked of the launcher: how many ranks, on which hosts, and how often again."""
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple

from ..errors import UserError
from ..flags import check, option
from ..machine import ranks

GROUP = 'several processes'
# a host that ssh has not met is trusted, and one whose key has changed is refused
SSH = 'ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new {host}'


@dataclass(frozen=True)
class Processes:
    """The launcher's options. Raises UserError where they contradict each other."""

    num_proc: int = option(1, 'processes (ranks) to train with', low=1, short='-np', group=GROUP)
    hosts: Optional[str] = option(None, 'where they run; or lines of "HOST slots=N"', short='-H',
                                  metavar='HOST:SLOTS,…', group=GROUP, excludes=['hostfile'])
    hostfile: Optional[str] = option(None, None, metavar='FILE', group=GROUP)
    network_interface: Optional[str] = option(None, 'the network between the hosts, as in eth0',
                                              metavar='NAME', group=GROUP)
    remote_shell: Optional[str] = option(
        None, 'runs its last argument, a line of shell, on {host}, with its own input; default: '
        'ssh; in a Slurm job give "srun --overlap -N1 -n1 -w {host} sh -c"', metavar='CMD',
        group=GROUP)
    env: Tuple[str, ...] = option((), 'a variable of all ranks; whose output is shown',
                                  metavar='NAME[=VALUE]', repeat=True, group=GROUP)
    ranks_filter: Tuple[int, ...] = option((), None, low=0, metavar='RANK,…', group=GROUP)
    start_timeout: float = option(120, 'seconds to start and to meet; restarts after faults',
                                  low=1, group=GROUP)
    max_restarts: int = option(0, None, low=0, group=GROUP)

    def __post_init__(self) -> None:
        check(self)
        for name in ('hosts', 'hostfile', 'network_interface', 'env', 'ranks_filter'):
            if getattr(self, name) and self.num_proc == 1:
                raise UserError(f'`{name}` is for several processes: say how many with `num_proc`')
        if max(self.ranks_filter, default=0) >= self.num_proc:
            raise UserError(f'`ranks_filter` names rank {max(self.ranks_filter)}, and the '
                            f'{self.num_proc} ranks count from 0')

    def is_launcher(self, environ: Mapping[str, str] = os.environ) -> bool:
        """Whether this process is to start ranks; UserError in a process that is a rank itself."""
        wanted, by = self.num_proc > 1 or self.max_restarts > 0, ranks.launched_by(environ)
        if wanted and by:
            raise UserError(f'this process was already started by a launcher ({by} is set): leave '
                            'out `num_proc` and `max_restarts`, or start the script without that '
                            'launcher')
        return wanted

    def variables(self, environ: Mapping[str, str] = os.environ) -> Dict[str, str]:
        """What `env` gives all ranks."""
        found = {}
        for text in self.env:
            name, given, value = text.partition('=')
            if not re.fullmatch(r'[A-Za-z_]\w*', name):
                raise UserError(f'`env` {text!r} is no variable; NAME=VALUE or NAME is expected')
            if not given and name not in environ:
                raise UserError(f'`env` {name} is not set here: export it, or say {name}=VALUE')
            found[name] = value if given else environ[name]
        return found

    def read_hosts(self) -> List[Tuple[str, int]]:
        """[(host, slots)]; all ranks on this machine by default."""
        pattern, form = r'([\w.-]+):(\d+)', '`hosts`: HOST:SLOTS,HOST:SLOTS'
        if self.hostfile:
            texts, pattern = _lines(self.hostfile), r'([\w.-]+)\s+slots\s*=\s*(\d+)'
            form = f'{self.hostfile}: "HOST slots=SLOTS"'
        elif self.hosts:
            texts = [item.strip() for item in self.hosts.split(',')]
        else:
            nodes = os.environ.get('SLURM_JOB_NUM_NODES', '')
            if self.num_proc > 1 and nodes.isdigit() and int(nodes) > 1:
                raise UserError(f'this Slurm job has {nodes} nodes: name them with `hosts`, or say '
                                f'-H localhost:{self.num_proc} for this one alone')
            return [('localhost', self.num_proc)]
        found = []
        for text in texts:
            match = re.fullmatch(pattern, text)
            if not match or int(match.group(2)) < 1:
                raise UserError(f'{text!r} is no host with its number of processes; {form} is '
                                'expected' + ', with IPv4 addresses' * (text.count(':') > 1))
            found.append((match.group(1), int(match.group(2))))
        if len(dict(found)) < len(found):
            raise UserError('a host is named twice: give each host once, with all its slots')
        slots = sum(count for _, count in found)
        if slots < self.num_proc:
            raise UserError(f'`num_proc` {self.num_proc} asks for more ranks than the {slots} '
                            'slots of the hosts: add hosts or slots, or start fewer ranks')
        return found


def _lines(path: str) -> List[str]:
    try:
        lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'`hostfile` {path} cannot be read '
                        f'({getattr(error, "strerror", "not text")}): give a text file of lines '
                        '"HOST slots=SLOTS"') from error
    return [line for line in (line.partition('#')[0].strip() for line in lines) if line]


def is_local(host: str) -> bool:
    """Whether ranks on `host` are started without the remote shell."""
    name = socket.gethostname()
    return host in ('localhost', name, name.partition('.')[0]) or host.startswith('127.')
