"""What the ranks print: line by line behind `[rank host] `, and the last lines of the others."""
from __future__ import annotations

import collections
import contextlib
import os
import select
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, Collection, Sequence

if TYPE_CHECKING:
    from .process import Rank

LAST = 10          # lines of a rank that are kept
LONGEST = 1 << 16  # bytes of a line
DRAIN = 1          # s for what ranks have written before they ended


class Output(threading.Thread):
    """Shows what `ranks` print, or those of them that are `chosen`. A thread, so that a terminal
    that stands still does not keep the launcher from its work."""

    def __init__(self, ranks: Sequence[Rank], chosen: Collection[int]) -> None:
        super().__init__(name='output', daemon=True)
        self._chosen = set(chosen or (rank.number for rank in ranks))
        self._pipes: dict[int, tuple[IO, Rank, Any]] = {}
        self._begun: dict[int, bytes] = collections.defaultdict(bytes)  # lines without their end
        self._last: dict[int, collections.deque[str]] = {}
        for rank in ranks:
            self._last[rank.number] = collections.deque(maxlen=LAST)
            for pipe, stream in ((rank.stdout, sys.stdout), (rank.stderr, sys.stderr)):
                if pipe:
                    self._pipes[pipe.fileno()] = pipe, rank, stream
        self.start()

    def run(self) -> None:
        """Until all that could write have ended."""
        poll = select.poll()
        for number in self._pipes:
            poll.register(number, select.POLLIN)
        while self._pipes:
            for number, _ in poll.poll():
                content = os.read(number, LONGEST)
                self._take(number, content)
                if not content:
                    poll.unregister(number)
                    self._pipes.pop(number)[0].close()

    def _take(self, number: int, content: bytes) -> None:
        """Show the lines that are whole now; at the end, or where one is too long, all."""
        _, rank, stream = self._pipes[number]
        *lines, rest = (self._begun[number] + content).split(b'\n')
        if rest and (not content or len(rest) > LONGEST):
            lines, rest = [*lines, rest], b''
        self._begun[number] = rest
        for line in lines:
            text = line.decode('utf-8', 'backslashreplace').rstrip('\r')
            self._last[rank.number].append(text)
            if rank.number in self._chosen:
                with contextlib.suppress(OSError, ValueError):  # nobody reads it
                    print(f'[{rank.number} {rank.host}] {text}', file=stream, flush=True)

    def drain(self) -> None:
        """Wait a moment for what is still in the pipes."""
        self.join(DRAIN)

    def last_words(self, rank: Rank) -> str:
        """The last lines of a rank, under its name, unless they were shown or there are none."""
        # a copy, because the thread may still add to it
        lines = [] if rank.number in self._chosen else list(self._last[rank.number])
        return ''.join([f'the last lines of {rank.name}:\n', *(f'    {line}\n' for line in lines)]
                       if lines else [])
