"""Signals that ask a run to save and end."""
from __future__ import annotations

import os
import signal
import threading
from typing import Any

from ..errors import UserError
from ..machine.ranks import PREEMPTED


class Stopped(UserError):
    """The run has saved and ended because somebody asked for it; the message says how to go on."""

    exit_code = PREEMPTED


NOTICE = b'\ninterrupted: saving at the next step; another Ctrl-C ends at once\n'


class StopRequest:
    """SIGTERM, or Ctrl-C, asks for a checkpoint at the next step, on all ranks, and then for the
    end. A second Ctrl-C raises KeyboardInterrupt where it is. Signals are noted inside its block,
    in a process's main thread alone."""

    def __init__(self) -> None:
        self.requested = self.interrupted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note)
                            for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
            os.write(2, NOTICE)  # a handler may not enter a stream that is being written to
        self.requested = True
