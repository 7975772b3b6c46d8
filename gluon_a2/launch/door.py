"""The hub's door: strangers outside, who can do nothing, and ranks let in (see `protocol`)."""
from __future__ import annotations

import contextlib
import hmac
import socket
from typing import Any

from .protocol import Channel, Clock

STRANGERS = 256  # connections that are not let in yet, at once; the oldest gives way
HELLO = 5        # s a connection may take to show the token, and then to introduce itself
AT_ONCE = 40     # connections accepted in one look


class Stranger:
    """A connection that has not shown the token. What it says is compared, and never parsed."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        sock.setblocking(False)
        self.socket, self.until, self._said = sock, until, b''

    def fileno(self) -> int:
        """For `wait`."""
        return self.socket.fileno()

    def knows(self, token: bytes) -> bool | None:
        """Whether it has shown the token; None until as many bytes have come."""
        try:
            content = self.socket.recv(len(token) - len(self._said))
        except BlockingIOError:
            return None
        except OSError:
            content = b''
        self._said += content
        if content and len(self._said) < len(token):
            return None
        return hmac.compare_digest(self._said, token)


class Door:
    """Listens, and lets in who shows the token and then sends a message."""

    def __init__(self, listener: int, token: str, clock: Clock) -> None:
        self._listener = socket.socket(fileno=listener)
        self._listener.setblocking(False)
        self._token, self._clock = token.encode(), clock
        self._strangers: list[Stranger] = []
        self._silent: list[tuple[Channel, float]] = []  # with the token; each until when it may be
        self.closed = False

    def channels(self) -> list[Any]:
        """What to wait for."""
        if self.closed:
            return []
        return [self._listener, *self._strangers, *(channel for channel, _ in self._silent)]

    def look(self) -> list[tuple[Channel, list[dict]]]:
        """Who has come in, with the first messages of each."""
        if self.closed:
            return []
        until = self._clock.now + HELLO
        with contextlib.suppress(OSError):  # none more, or no file descriptor for it
            for _ in range(AT_ONCE):
                self._strangers.append(Stranger(self._listener.accept()[0], until))
        self._ask(until)
        for stranger in self._strangers[:-STRANGERS]:
            stranger.socket.close()
        del self._strangers[:-STRANGERS]
        return self._greet()

    def _ask(self, until: float) -> None:
        """Strangers who know the token are let in, and those who cannot any more are sent away."""
        waiting = []
        for stranger in self._strangers:
            known = stranger.knows(self._token)
            if known:
                self._silent.append((Channel(stranger.socket), until))
            elif known is None and self._clock.now < stranger.until:
                waiting.append(stranger)
            else:
                stranger.socket.close()
        self._strangers = waiting

    def _greet(self) -> list[tuple[Channel, list[dict]]]:
        come: list = []
        silent: list = []
        for channel, until in self._silent:
            messages = channel.receive()
            if messages:
                come.append((channel, messages))
            elif channel.closed or self._clock.now >= until or len(silent) == STRANGERS:
                channel.close()
            else:
                silent.append((channel, until))
        self._silent = silent
        return come

    def close(self) -> None:
        """Nobody else is to come: from now on there is no port for strangers to reach."""
        self.closed = True
        for outside in (self._listener, *(stranger.socket for stranger in self._strangers),
                        *(channel.socket for channel, _ in self._silent)):
            outside.close()
        self._strangers, self._silent = [], []
