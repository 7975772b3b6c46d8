"""Where the ranks of a job find each other: Horovod's key-value store over HTTP, on one address,
for those who know the job's secret, and until all ranks have met.

Horovod's own server listens on all interfaces, starts a thread for every connection, and stores
what anybody sends. Its clients show no secret. But they take the address of the server as text in
front of `:PORT/SCOPE/KEY`, so an address that ends in `:PORT/SECRET` makes them ask for
`/SECRET:PORT/SCOPE/KEY`.
"""
from __future__ import annotations

import contextlib
import hmac
import os
import socket
import socketserver
import threading
import time
from typing import Any

from ..errors import UserError
from .door import STRANGERS, Stranger
from .protocol import wait
from .start import MET, SHOWN

PAUSE = 0.005  # s between two looks at the door
WORD = len('DELETE /')


class Caller(Stranger):
    """A stranger whose request, `METHOD /SECRET…`, is not taken from the socket."""

    def knows(self, token: bytes) -> bool | None:
        """Whether the request shows the secret; None until that is seen."""
        try:
            said = self.socket.recv(WORD + len(token), socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            said = b''
        word, _, shown = said.partition(b'/')
        if said and len(word) < WORD and len(shown) < len(token) and b'\n' not in said:
            return None
        return hmac.compare_digest(shown[:len(token)], token)


def serve(plan: list, address: str) -> Any:
    """Start the server for Horovod's allocation `plan`; it has `server_port` and `secret`, and
    `close` ends it."""
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    class Handler(RendezvousHandler):
        """Answers those who were let in."""

        path: str

        def parse_request(self) -> bool:
            """Without the secret in front."""
            sound = super().parse_request()
            if sound:
                self.path = '/' + self.path[1:].partition('/')[2]
            return sound

        def do_PUT(self) -> None:  # noqa: N802
            """Store a value; the last rank to have met the others closes the door behind it."""
            super().do_PUT()
            if len(self.server.cache.get(MET, {})) == len(plan):
                self.server.close()

    class Server(RendezvousHTTPServer):
        """On one address; a thread for each request of a rank, and one for all strangers."""

        daemon_threads, block_on_close = True, False
        request_queue_size = 1024

        def __init__(self) -> None:
            self.begun, self.secret = time.monotonic(), os.urandom(16).hex()
            super().__init__((address, 0), Handler, 0)
            self.init(plan)
            self.socket.setblocking(False)
            self._closing = threading.Event()
            self._thread = threading.Thread(target=self._let_in, daemon=True)
            self._thread.start()

        def server_bind(self) -> None:
            """Without the look-up of the address's name, which may take seconds."""
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = self.server_address[:2]

        def _let_in(self) -> None:
            strangers: list[Caller] = []
            while not self._closing.wait(PAUSE):  # some may say a byte, and no more
                wait([self.socket, *strangers], 0.1)
                with contextlib.suppress(OSError):  # none more
                    for _ in range(STRANGERS):
                        strangers.append(Caller(self.socket.accept()[0], 0))
                strangers = self._ask(strangers)
            self.server_close()
            for stranger in strangers:
                stranger.socket.close()

        def _ask(self, strangers: list[Caller]) -> list[Caller]:
            """Let in who shows the secret; those who still may, the newest of them."""
            waiting = []
            for stranger in strangers:
                known = stranger.knows(self.secret.encode())
                if known is None:
                    waiting.append(stranger)
                elif known:
                    stranger.socket.settimeout(Handler.timeout)
                    self.process_request(stranger.socket, None)
                else:
                    stranger.socket.close()
            for stranger in waiting[:-STRANGERS]:
                stranger.socket.close()
            return waiting[-STRANGERS:]

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Nothing: Python's would print a traceback."""

        def shown(self, number: int) -> bool:
            """Whether a rank has started."""
            return str(number) in self.cache.get(SHOWN, {})

        def close(self) -> None:
            """End it."""
            self._closing.set()
            self._thread.join()

    try:
        return Server()
    except OSError as error:
        raise UserError(f'{address} cannot be listened on ({error.strerror}): name the network '
                        'with `network_interface`') from error
