"""One rank: how it finds the others, its line of shell on another host, and its process."""
from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from ..errors import UserError

# what a rank on another host needs of the environment here
EXPORTED = re.compile(
    r'(HOROVOD|GLUON_A2|NCCL|MXNET|G?OMP)_\w+|(PYTHON|LD_LIBRARY_)?PATH|VIRTUAL_ENV')
PR_SET_PDEATHSIG = 1


def meeting(slot: Any, port: int, interface: str | None, local: bool) -> dict[str, str]:
    """The variables by which a rank, at Horovod's SlotInfo `slot`, finds the others: the `port` of
    the rendezvous, the network between the hosts, and whether all ranks are here (`local`)."""
    from horovod.runner.gloo_run import create_slot_env_vars
    found = {
        # by default much, because the watchdog finds a lost rank sooner
        'HOROVOD_GLOO_TIMEOUT_SECONDS': os.environ.get('HOROVOD_GLOO_TIMEOUT_SECONDS', '300'),
        **create_slot_env_vars(slot), 'HOROVOD_CONTROLLER': 'gloo',
        'HOROVOD_CPU_OPERATIONS': 'gloo', 'HOROVOD_GLOO_RENDEZVOUS_PORT': str(port),
        'HOROVOD_GLOO_RENDEZVOUS_ADDR': '127.0.0.1' if local else _own_address(interface)}
    if interface:
        found['NCCL_SOCKET_IFNAME'] = interface
    if interface or local:
        found['HOROVOD_GLOO_IFACE'] = interface or 'lo'
    return found


def _own_address(interface: str | None) -> str:
    """This machine's address on a network, or the one its name stands for."""
    from horovod.runner.util.network import get_driver_ip
    if not interface:
        try:
            return socket.gethostbyname(socket.gethostname())
        except OSError as error:
            raise UserError(f'the name of this machine, {socket.gethostname()}, has no address: '
                            'name the network with `network_interface`') from error
    try:
        return get_driver_ip([interface])
    except (KeyError, RuntimeError) as error:
        raise UserError(f'`network_interface` {interface} has no address here: see ip -br '
                        'addr') from error


def remote_command(shell: str, host: str, command: Sequence[str],
                   variables: Mapping[str, str]) -> list[str]:
    """The command that runs a rank on `host` through a remote shell, with `{host}` in it. The
    shell's last argument is one line, in which `exec` makes the rank the remote shell's child, so
    that its watchdog sees the shell go."""
    names = ' '.join(f'{name}={shlex.quote(value)}' for name, value in sorted(variables.items())
                     if EXPORTED.fullmatch(name))
    line = f'exec env {names} {" ".join(map(shlex.quote, command))}'
    return [*shlex.split(shell.replace('{host}', host)), f'cd {shlex.quote(os.getcwd())} && {line}']


def _die_with_parent() -> Callable[[], None] | None:
    """What the child calls first, so that the kernel kills it when this process ends."""
    if not sys.platform.startswith('linux'):
        return None  # the watchdog sees the parent change
    # looked up here, because little is safe between fork and exec
    prctl, launcher = ctypes.CDLL(None).prctl, os.getpid()

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:  # it ended just before
            os._exit(1)
    return prepare


class Rank(subprocess.Popen):
    """A process that was started, here (`local`) or through a remote shell, in a session of its
    own, so that no signal to the launcher's process group reaches it."""

    def __init__(self, number: int, command: Sequence[str], variables: Mapping[str, str],
                 local: bool = True) -> None:
        self.number, self.local = number, local
        try:
            super().__init__(command, env=variables, stdin=subprocess.DEVNULL,
                             start_new_session=True, preexec_fn=_die_with_parent())
        except OSError as error:
            raise UserError(f'{command[0]} cannot be started: {error.strerror}; see '
                            '`remote_shell`') from error

    def kill(self) -> None:
        """End it and its data workers, which share its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def children(self) -> list[int]:
        """Its watchdog and data workers; none where the kernel does not list them."""
        with contextlib.suppress(OSError):
            listed = Path(f'/proc/{self.pid}/task/{self.pid}/children').read_text()
            return [int(number) for number in listed.split()]
        return []

    def ending(self) -> str:
        """How it has ended, as a sentence."""
        if self.returncode >= 0:
            return f'rank {self.number} ended with exit code {self.returncode}'
        try:
            name = signal.Signals(-self.returncode).name
        except ValueError:
            name = f'signal {-self.returncode}'
        return f'rank {self.number} was killed by {name}'


def silence(ranks: Sequence[Rank]) -> None:
    """Before ranks are killed on purpose: end their watchdogs, which would call that a fault. All
    are stopped first, so that none sees another one end."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for rank in ranks:
            for pid in [*rank.children(), rank.pid] if rank.poll() is None else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
