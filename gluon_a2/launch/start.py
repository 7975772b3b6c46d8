"""The start of a rank under our launcher, until its heart beats: it shows itself, and does not wait
for ever, nor without a launcher."""
from __future__ import annotations

import http.client
import os
import socket
import threading
import time

from ..errors import UserError
from ..machine.network import RENDEZVOUS
from ..machine.ranks import launch_id, rank
from .protocol import say

LIMIT = 'GLUON_A2_START_TIMEOUT'  # s, set by our launcher
SCOPE = 'gluon_a2'                # of the rendezvous, where ranks show themselves
REACH = 15                        # s in which the launcher must be reached
TICK = 0.5                        # s

_met, _watched = threading.Event(), threading.Event()


def show() -> None:
    """Tell the launcher that this rank has started, and watch the start; nothing without our
    launcher. UserError where the launcher cannot be reached."""
    if not launch_id() or LIMIT not in os.environ:
        return
    threading.Thread(target=_watch, args=(os.getppid(), float(os.environ[LIMIT])), name='start',
                     daemon=True).start()
    where = os.environ[RENDEZVOUS], int(os.environ['HOROVOD_GLOO_RENDEZVOUS_PORT'])
    until = time.monotonic() + REACH
    while True:
        try:
            _put(where)
            return
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > until:
                raise UserError(f'rank {rank()} on {socket.gethostname()} cannot reach the '
                                f'launcher at {where[0]}:{where[1]} ({error}): open the network or '
                                'the firewall, or name the network with `network_interface`'
                                ) from error
            time.sleep(TICK)


def met() -> None:
    """The ranks have met: from now on this one may take its time."""
    _met.set()


def watched() -> None:
    """From now on a watchdog sees whether the launcher is there."""
    _met.set()
    _watched.set()


def _put(where: tuple[str, int]) -> None:
    connection = http.client.HTTPConnection(*where, timeout=5)
    try:
        connection.request('PUT', f'/{SCOPE}/{rank()}', b'started')
        connection.getresponse().read()
    finally:
        connection.close()


def _watch(parent: int, limit: float) -> None:
    """End this process without its parent, or after `limit` seconds among too few."""
    until, name = time.monotonic() + limit, f'rank {rank()} on {socket.gethostname()}'
    while not _watched.wait(TICK):
        gone = os.getppid() != parent
        if gone or time.monotonic() > until and not _met.is_set():
            say(f'{name} was ended at its start: ' + (
                'the launcher is gone' if gone else
                f'it has not met the others within {limit:g} s, see --start-timeout'))
            # no exception would reach a main thread that waits inside Horovod
            os._exit(1)
