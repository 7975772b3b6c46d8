"""Where the ranks of a job find each other: Horovod's key-value store over HTTP, on one address.

Horovod's own server listens on all interfaces, starts a thread for every connection, and stores
what anybody sends. Its clients show no secret, so whoever reaches the port can still spoil the
start of a job.
"""
from __future__ import annotations

import socketserver
import threading
import time
from typing import Any

from ..errors import UserError
from .start import SCOPE

LARGEST = 1 << 20  # bytes of a value: a rank's addresses for all others
MOST = 1 << 28     # bytes of all values
THREADS = 256      # connections at once


def serve(plan: list, address: str) -> Any:
    """Start the server for Horovod's allocation `plan`; it has `server_port`, and `close` ends
    it."""
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    class Handler(RendezvousHandler):
        """Refuses what is too much, and files of this machine."""

        def do_PUT(self) -> None:  # noqa: N802
            """Store a value."""
            length = self.headers.get('Content-Length', '')
            size = int(length) if length.isdecimal() and len(length) < 10 else MOST
            self.server.stored += size
            if size > LARGEST or self.server.stored > MOST:
                self.close_connection = True
                self.send_status_code(413)
            else:
                super().do_PUT()

        def do_HEAD(self) -> None:  # noqa: N802
            """Nothing: Python's would look for a file."""
            self.send_status_code(400)

    class Server(RendezvousHTTPServer):
        """On one address, with a bounded number of threads."""

        daemon_threads, block_on_close = True, False
        request_queue_size = 1024

        def __init__(self) -> None:
            self.begun = time.monotonic()
            self.stored, self._free = 0, threading.BoundedSemaphore(THREADS)
            super().__init__((address, 0), Handler, 0)
            self.init(plan)
            threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

        def server_bind(self) -> None:
            """Without the look-up of the address's name, which may take seconds."""
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = self.server_address[:2]

        def process_request(self, request: Any, client_address: Any) -> None:
            """In a thread of its own, where one is free within a moment."""
            if self._free.acquire(timeout=0.1):
                super().process_request(request, client_address)
            else:
                self.shutdown_request(request)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            """As everywhere."""
            try:
                super().process_request_thread(request, client_address)
            finally:
                self._free.release()

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Nothing: Python's would print a traceback."""

        def shown(self, number: int) -> bool:
            """Whether a rank has started."""
            return str(number) in self.cache.get(SCOPE, {})

        def close(self) -> None:
            """End it."""
            self.shutdown()
            self.server_close()

    try:
        return Server()
    except OSError as error:
        raise UserError(f'{address} cannot be listened on ({error.strerror}): name the network '
                        'with `network_interface`') from error
