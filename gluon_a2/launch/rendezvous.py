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
from .start import MET, SHOWN

HELD = 256  # connections at once; the oldest gives way, and ranks hold theirs for milliseconds


def serve(plan: list, address: str) -> Any:
    """Start the server for Horovod's allocation `plan`; it has `server_port` and `secret`, and
    `close` ends it."""
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    class Handler(RendezvousHandler):
        """Hangs up on strangers."""

        path: str

        def parse_request(self) -> bool:
            """Whether the request is to be answered."""
            if not super().parse_request():
                return False
            begin = f'/{self.server.secret}:{self.server.server_port}'
            known = hmac.compare_digest(self.path[:len(begin)].encode(), begin.encode())
            self.path = self.path[len(begin):]
            return known

        def do_PUT(self) -> None:  # noqa: N802
            """Store a value; the last rank to have met the others closes the door behind it."""
            super().do_PUT()
            if len(self.server.cache.get(MET, {})) == len(plan):
                self.server.close()

    class Server(RendezvousHTTPServer):
        """On one address, with a bounded number of connections."""

        daemon_threads, block_on_close = True, False
        request_queue_size = 1024

        def __init__(self) -> None:
            self.begun, self.secret = time.monotonic(), os.urandom(16).hex()
            self._held: list[socket.socket] = []
            super().__init__((address, 0), Handler, 0)
            self.init(plan)
            threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

        def server_bind(self) -> None:
            """Without the look-up of the address's name, which may take seconds."""
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = self.server_address[:2]

        def process_request(self, request: Any, client_address: Any) -> None:
            """In a thread of its own."""
            self._held.append(request)
            for oldest in self._held[:-HELD]:
                with contextlib.suppress(OSError):  # which ends its thread
                    oldest.shutdown(socket.SHUT_RDWR)
            super().process_request(request, client_address)

        def shutdown_request(self, request: Any) -> None:
            """Hang up."""
            with contextlib.suppress(ValueError):
                self._held.remove(request)
            super().shutdown_request(request)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Nothing: Python's would print a traceback."""

        def shown(self, number: int) -> bool:
            """Whether a rank has started."""
            return str(number) in self.cache.get(SHOWN, {})

        def close(self) -> None:
            """End it."""
            self.shutdown()
            self.server_close()

    try:
        return Server()
    except OSError as error:
        raise UserError(f'{address} cannot be listened on ({error.strerror}): name the network '
                        'with `network_interface`') from error
