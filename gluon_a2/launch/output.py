"""What the ranks print: line by line behind `[rank host] `, rank 0's progress bar on a terminal,
and the last lines of the others."""
from __future__ import annotations

import collections
import contextlib
import os
import queue
import select
import shutil
import socket
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, Collection, Iterable, Sequence

from .protocol import CLEAR

if TYPE_CHECKING:
    from .process import Rank

LAST = 10          # lines of a rank that are kept
LONGEST = 1 << 16  # bytes of a line
DRAIN = 1          # s for what ranks have written before they ended
MOST = 10_000      # pieces that wait for a terminal that stands still; a line is up to three


def bar_columns(hosts: Iterable[str], chosen: Collection[int]) -> int:
    """How wide rank 0's progress bar may be, on whichever of `hosts`; 0 where it is not shown."""
    if not sys.stderr.isatty() or chosen and 0 not in chosen:
        return 0
    label = max(map(len, [socket.gethostname(), *hosts])) + len('[0 ] ')
    return max(0, shutil.get_terminal_size().columns - label)


class Output(threading.Thread):
    """Shows what `ranks` print, or those of them that are `chosen`. A thread reads and another one
    writes, so that a terminal that stands still keeps neither launcher nor ranks from their work.
    """

    def __init__(self, ranks: Sequence[Rank], chosen: Collection[int]) -> None:
        super().__init__(name='output', daemon=True)
        self._chosen = set(chosen or (rank.number for rank in ranks))
        self._pipes: dict[int, tuple[IO, Rank, Any]] = {}
        self._begun: dict[int, bytes] = collections.defaultdict(bytes)  # lines without their end
        self._last: dict[int, collections.deque[str]] = {}
        self._bar = ''  # the last line of the terminal, which has no end
        self._lines: queue.Queue = queue.Queue(MOST)
        for rank in ranks:
            self._last[rank.number] = collections.deque(maxlen=LAST)
            for pipe, stream in ((rank.stdout, sys.stdout), (rank.stderr, sys.stderr)):
                if pipe:
                    self._pipes[pipe.fileno()] = pipe, rank, stream
        threading.Thread(target=self._read, name='reading', daemon=True).start()
        self.start()

    def run(self) -> None:
        """Write until all that could print have ended."""
        for stream, text in iter(self._lines.get, None):
            # past the stream's buffer, whose lock a terminal would hold beyond our end
            with contextlib.suppress(OSError, ValueError):  # nobody reads it
                os.write(stream.fileno(), text.encode(stream.encoding, 'backslashreplace'))

    def _read(self) -> None:
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
        self._lines.put(None)

    def _take(self, number: int, content: bytes) -> None:
        """Show the lines that are whole now; at the end, or where one is too long, all."""
        _, rank, stream = self._pipes[number]
        *lines, rest = (self._begun[number] + content).split(b'\n')
        rest = rest[max(0, rest.rstrip(b'\r').rfind(b'\r')):]  # a bar, where it begins with \r
        if rest and (not content or len(rest) > LONGEST):
            lines, rest = [*lines, rest], b''
        self._begun[number] = rest
        for line in lines:
            text = line.decode('utf-8', 'backslashreplace').rstrip('\r').rpartition('\r')[2]
            self._last[rank.number].append(text)
            if rank.number in self._chosen:
                self._show(stream, f'[{rank.number} {rank.host}] {text}\n')
        if rank.number == 0 and stream is sys.stderr and stream.isatty():
            bar = rest.decode('utf-8', 'replace').strip() if rest[:1] == b'\r' else ''
            self._show(stream, '', bar and f'[0 {rank.host}] {bar}')

    def _show(self, stream: Any, line: str, bar: str | None = None) -> None:
        """Put a line above the bar, which stays as it is unless there is another one."""
        clear, self._bar = CLEAR if self._bar else '', self._bar if bar is None else bar
        with contextlib.suppress(queue.Full):
            for part in (sys.stderr, clear), (stream, line), (sys.stderr, self._bar):
                if part[1]:
                    self._lines.put_nowait(part)

    def drain(self) -> None:
        """Wait a moment for what is still in the pipes."""
        self.join(DRAIN)

    def last_words(self, rank: Rank) -> str:
        """The last lines of a rank, under its name, unless they were shown or there are none."""
        # a copy, because the thread may still add to it
        lines = [] if rank.number in self._chosen else list(self._last[rank.number])
        return ''.join([f'the last lines of {rank.name}:\n', *(f'    {line}\n' for line in lines)]
                       if lines else [])
