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
from typing import Any, Callable, Collection, Mapping, Sequence

from ..errors import UserError
from ..machine import network
from ..machine.ranks import STDERR, STOP
from .options import Processes
from .protocol import state

# what a rank on another host needs of the environment here
EXPORTED = re.compile(
    r'(HOROVOD|GLUON_A2|NCCL|MXNET|G?OMP)_\w+|(PYTHON|LD_LIBRARY_)?PATH|VIRTUAL_ENV')
PR_SET_PDEATHSIG = 1
WATCHDOG = 'gluon_a2.launch.watchdog'  # the module that a rank starts


def meeting(slot: Any, rendezvous: tuple[str, int], interface: str | None) -> dict[str, str]:
    """The variables by which a rank, at Horovod's SlotInfo `slot`, finds the others: the address
    and port of the `rendezvous`, and the network between the hosts."""
    from horovod.runner.gloo_run import create_slot_env_vars
    address, port = rendezvous
    found = {
        **create_slot_env_vars(slot), 'HOROVOD_CONTROLLER': 'gloo',
        'HOROVOD_CPU_OPERATIONS': 'gloo', 'HOROVOD_GLOO_RENDEZVOUS_PORT': str(port),
        network.RENDEZVOUS: address}
    if interface:
        found['NCCL_SOCKET_IFNAME'] = interface
    if interface or address == network.LOOPBACK:
        found['HOROVOD_GLOO_IFACE'] = interface or 'lo'
    return found


def own_address(given: Processes, elsewhere: Sequence[str]) -> str:
    """The one address of this machine that the ranks are given: the loopback one unless hosts are
    `elsewhere`. UserError where these could not reach it."""
    if not elsewhere:
        return network.LOOPBACK
    towards = _towards(elsewhere)
    if towards and len(given.read_hosts()) > len(elsewhere):  # ranks here, and others far away
        network.check_own_name(towards)
    if given.network_interface:
        address = _address_of(given.network_interface)
        if towards and network.is_loopback(address):
            raise UserError(f'`network_interface` {given.network_interface} does not lead to '
                            f'{elsewhere[0]}: name the network between the hosts, or leave it out')
        return address
    address = towards or network.own_address()
    if network.is_loopback(address) and not given.remote_shell:
        raise UserError(f'{elsewhere[0]} could reach this machine only at {address}, which leads '
                        'nowhere: name an address of the host, or the network between the hosts '
                        'with `network_interface`; see /etc/hosts')
    return address


def _towards(hosts: Sequence[str]) -> str | None:
    """This machine's address on the way to `hosts`; None where only the remote shell knows their
    names. UserError where a name has no address that Horovod could use."""
    own = None
    for host in hosts:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            break
        four = [str(where[0]) for family, *_, where in found if family == socket.AF_INET]
        if not four:
            raise UserError(f'host {host} has only IPv6 addresses ({found[0][-1][0]}), and Horovod '
                            'needs IPv4: name an IPv4 address of it')
        with contextlib.suppress(OSError):
            address = network.facing(four[0])
            own = own or (None if network.is_loopback(address) else address)
    return own


def _address_of(interface: str) -> str:
    from horovod.runner.util.network import get_driver_ip
    try:
        return get_driver_ip([interface])
    except (KeyError, RuntimeError) as error:
        raise UserError(f'`network_interface` {interface} has no address here: see ip -br '
                        'addr') from error


def remote_command(shell: str, host: str, command: Sequence[str], variables: Mapping[str, str],
                   passed: Collection[str] = ()) -> list[str]:
    """The command that runs a rank on `host` through a remote shell, with `{host}` in it. Of the
    variables it takes those that ranks need, and those whose names are `passed`.

    The shell's last argument is one line, in which `exec` makes the rank the remote shell's child,
    so that its watchdog sees the shell go.
    """
    names = ' '.join(f'{name}={shlex.quote(value)}' for name, value in sorted(variables.items())
                     if EXPORTED.fullmatch(name) or name in passed)
    line = f'exec env {names} {" ".join(map(shlex.quote, command))}'
    return [*shlex.split(shell.replace('{host}', host)), f'cd {shlex.quote(os.getcwd())} && {line}']


def die_with(parent: int) -> Callable[[], None]:
    """What a process calls so that the kernel kills it when its parent ends."""
    if not sys.platform.startswith('linux'):
        return lambda: None  # the watchdog sees the parent change
    # looked up here, because little is safe between fork and exec
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended just before
            os._exit(1)
    return prepare


class Rank(subprocess.Popen):
    """A process that was started, here (`local`) or through a remote shell, in a session of its
    own, so that no signal to the launcher's process group reaches it. One of several is given the
    `secret` of the job, and what it prints comes through pipes (see `output`)."""

    def __init__(self, number: int, command: Sequence[str], variables: Mapping[str, str],
                 local: bool = True, secret: str | None = None) -> None:
        self.number, self.local, self.late = number, local, 0.0  # `late`: s without its start
        self.given_up = ''  # its state (see proc(5)) when it had to be ended
        self._watchdog: int | None = None  # its process, once seen
        self.host = socket.gethostname() if local else variables['HOROVOD_HOSTNAME']
        self.name = f'rank {number}' + ('' if local else f' on {self.host}')
        pipe, ours = (subprocess.PIPE if secret else None), os.dup(2)
        try:
            super().__init__(command, env={**variables, **({STDERR: str(ours)} if local else {})},
                             stdin=pipe or subprocess.DEVNULL, stdout=pipe, stderr=pipe,
                             bufsize=0, pass_fds=[ours] if local else [], start_new_session=True,
                             preexec_fn=die_with(os.getpid()))
        except OSError as error:
            raise UserError(f'{command[0]} cannot be started: {error.strerror}; see '
                            '`remote_shell`') from error
        finally:
            os.close(ours)
        self._tell(f'{secret}\n'.encode())
        if self.stdin and local:
            self.stdin.close()

    def _tell(self, content: bytes) -> None:
        if self.stdin:
            with contextlib.suppress(OSError):  # it may have ended
                self.stdin.write(content)

    def stop(self) -> None:
        """Ask it to save and stop. A signal would end its remote shell."""
        if self.local:
            self.terminate()
        else:
            self._tell(STOP)

    def kill(self) -> None:
        """End it and its data workers, which share its process group, and a watchdog of it that is
        stopped, which would stay for ever."""
        if self.poll() is None:
            self.given_up = state(self.pid) or 'unknown'
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        watchdog = self._watchdog
        if watchdog is not None and state(watchdog) == 'T' and _is_watchdog(watchdog):
            with contextlib.suppress(ProcessLookupError):
                os.kill(watchdog, signal.SIGKILL)

    def children(self) -> list[int]:
        """Its watchdog and data workers; none where the kernel does not list them."""
        with contextlib.suppress(OSError):
            listed = Path(f'/proc/{self.pid}/task/{self.pid}/children').read_text()
            return [int(number) for number in listed.split()]
        return []

    def is_over(self) -> bool:
        """Whether it has ended, or is stopped and has no watchdog any more, which leaves after the
        last word of its rank. A rank that is at work may take seconds to end."""
        if self.returncode is not None:
            return True
        if self._watchdog is None:
            self._watchdog = next((pid for pid in self.children() if _is_watchdog(pid)), None)
            return False
        return state(self._watchdog) in ('', 'Z', 'X') and state(self.pid) == 'T'

    def ending(self) -> str:
        """How it has ended, as a sentence."""
        if self.late:
            where = ('' if self.local else ': the remote shell hangs, or the host does not answer')
            return f'{self.name} has not started within {self.late:g} s (--start-timeout){where}'
        if self.given_up:
            what = self.name if self.local else f'the remote shell of {self.name}'
            why = ', for it was stopped' if self.given_up == 'T' else ''
            return f'{what} has not ended{why}, and was killed by the launcher'
        if self.returncode >= 0:
            return f'{self.name} ended with exit code {self.returncode}'
        try:
            name = signal.Signals(-self.returncode).name
        except ValueError:
            name = f'signal {-self.returncode}'
        return f'{self.name} was killed by {name}'


def _is_watchdog(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return WATCHDOG.encode() in Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
    return False


def silence(ranks: Sequence[Rank]) -> None:
    """Before ranks are killed on purpose: end their watchdogs, which would call that a fault. All
    are stopped first, so that none sees another one end."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for rank in ranks:
            for pid in [*rank.children(), rank.pid] if rank.poll() is None else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
