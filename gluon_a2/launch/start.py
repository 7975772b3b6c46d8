"""The start of a rank under our launcher, until its heart beats: it shows itself, and does not wait
for ever, nor without a launcher."""
from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import sys
import threading
import time

from ..errors import UserError
from ..machine.network import RENDEZVOUS, launcher_address
from ..machine.ranks import STOP, launch_id, rank
from .protocol import say

PORT = 'HOROVOD_GLOO_RENDEZVOUS_PORT'
LIMIT = 'GLUON_A2_START_TIMEOUT'  # s, set by our launcher
SHOWN, MET = 'shown', 'met'       # scopes of the rendezvous, in which ranks say how far they are
REACH = 15                        # s in which the launcher must be reached
TICK = 0.5                        # s

_shown, _met, _watched = threading.Event(), threading.Event(), threading.Event()


def show() -> None:
    """Learn the job's secret, tell the launcher that this rank has started, and watch the start,
    once; nothing without our launcher. UserError where the launcher cannot be reached."""
    if not _launched() or _shown.is_set():
        return
    _shown.set()
    threading.Thread(target=_watch, args=(os.getppid(), float(os.environ[LIMIT])), name='start',
                     daemon=True).start()
    address, port = os.environ[RENDEZVOUS], os.environ[PORT]
    # by stdin, because every user of a machine sees command lines
    secret = sys.stdin.readline().strip()
    if not secret:
        raise UserError(f'{_name()} did not get the secret of its job: `remote_shell` must pass '
                        'its standard input on, as ssh, srun and docker exec -i do')
    threading.Thread(target=_obey, name='stop', daemon=True).start()
    os.environ[RENDEZVOUS] = f'{address}:{port}/{secret}'
    until = time.monotonic() + REACH
    while True:
        try:
            _report(SHOWN)
            return
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > until:
                raise UserError(f'{_name()} cannot reach the launcher at {address}:{port} ({error})'
                                ': open the network or the firewall, or name the network with '
                                '`network_interface`') from error
            time.sleep(TICK)


def met() -> None:
    """The ranks have met: from now on this one may take its time."""
    _met.set()
    if _launched():
        with contextlib.suppress(OSError, http.client.HTTPException):
            _report(MET)
        os.environ[RENDEZVOUS] = launcher_address() or ''  # children need no secret


def watched() -> None:
    """From now on a watchdog sees whether the launcher is there."""
    _met.set()
    _watched.set()


def _obey() -> None:
    """Save and stop, as at a signal, when the launcher says so through a remote shell."""
    with contextlib.suppress(OSError):
        if os.read(0, len(STOP)) == STOP:
            os.kill(os.getpid(), signal.SIGTERM)


def _launched() -> bool:
    """Whether our launcher has started this rank as one of several."""
    return launch_id() is not None and LIMIT in os.environ


def _name() -> str:
    return f'rank {rank()} on {socket.gethostname()}'


def _report(scope: str) -> None:
    """Tell the launcher, where Horovod asks for the addresses of the others."""
    where, _, secret = os.environ[RENDEZVOUS].partition('/')
    connection = http.client.HTTPConnection(where, timeout=5)
    try:
        connection.request('PUT', f'/{secret}:{os.environ[PORT]}/{scope}/{rank()}', b'yes')
        connection.getresponse().read()
    finally:
        connection.close()


def _watch(parent: int, limit: float) -> None:
    """End this process without its parent, or after `limit` seconds among too few."""
    until = time.monotonic() + limit
    while not _watched.wait(TICK):
        gone = os.getppid() != parent
        if gone or time.monotonic() > until and not _met.is_set():
            say(f'{_name()} was ended at its start: ' + (
                'the launcher is gone' if gone else
                f'it has not met the others within {limit:g} s: one of them did not come, or a '
                'firewall stands between the hosts; see --start-timeout and --network-interface'))
            # no exception would reach a main thread that waits inside Horovod
            os._exit(1)
