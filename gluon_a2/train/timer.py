"""Where the time of training goes."""
from __future__ import annotations

import contextlib
import time
from typing import Iterable, Iterator, TypeVar

Item = TypeVar('Item')
# `compute` is forward, backward and update, which are waited for; `wait` is for the other ranks and
# what is left of the exchange of gradients when backward has ended.
PHASES = ('data', 'compute', 'wait', 'checkpoint')


class Timer:
    """Images per second since `restart`, and the share of that time spent in each phase."""

    def __init__(self) -> None:
        self.restart(0)

    def restart(self, images: int) -> None:
        """Begin anew, `images` into the epoch."""
        self._start = self._since = time.perf_counter()
        self._images = images
        self._spent: dict[str | None, float] = {}
        self._phase: str | None = None

    def timed(self, name: str, iterator: Iterator[Item], count: int) -> Iterable[Item]:
        """The next `count` items of an iterator, the wait for each counted under `name`."""
        for _ in range(count):
            with self.during(name):
                item = next(iterator)
            yield item

    @contextlib.contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Count the time in here under `name` alone, not under a phase around it."""
        around = self._enter(name)
        try:
            yield
        finally:
            self._enter(around)

    def _enter(self, phase: str | None) -> str | None:
        now, before = time.perf_counter(), self._phase
        self._spent[before] = self._spent.get(before, 0) + now - self._since
        self._since, self._phase = now, phase
        return before

    def speed(self, images: int) -> float:
        return (images - self._images) / max(1e-9, time.perf_counter() - self._start)

    def share(self, name: str) -> float:
        """Share of the time spent under `name`."""
        return self._spent.get(name, 0) / max(1e-9, time.perf_counter() - self._start)
