"""Asking a run to stop, and its answer. No torch.

Owns the flag that SIGTERM, SIGUSR1 (a cluster's warning before the time limit) and SIGINT set, and
`Interrupted`, which leaves the work after a complete checkpoint. Handlers only set the flag: the
loop looks at it between steps, so nothing is torn. A second Ctrl-C is impatience and raises
KeyboardInterrupt at once; publishing is atomic, so that loses time and nothing else.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 75
"""EX_TEMPFAIL: start the same command again and it goes on."""

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(Exception):
    """A signal ended the work; what it had published is complete, and starting again goes on."""


class Stop:
    """Whether a signal asked for the end, and which one did."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._elsewhere = False

    def request(self, number: int, frame: FrameType | None = None) -> None:
        """The signal handler, and how tests ask for an end."""
        if self._signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = number

    def follow(self) -> None:
        """Another rank of this run was asked to stop, and so all stop."""
        self._elsewhere = True

    @property
    def requested(self) -> bool:
        return self._signal is not None or self._elsewhere

    @property
    def name(self) -> str:
        if self._signal is not None:
            return signal.Signals(self._signal).name
        return "a signal to another rank" if self._elsewhere else "nothing"

    def check(self, doing: str) -> None:
        """Raise Interrupted where a stop was asked for; `doing` says what is left undone."""
        if self.requested:
            raise Interrupted(f"{self.name} while {doing}: start again to go on")


@contextmanager
def handling_signals() -> Iterator[Stop]:
    """Set the flag instead of dying, inside the block. Outside the main thread nothing can be
    installed, and the flag then stays unset.

    A cluster signals every process of a job, so a compiler that the block waits for dies of the
    same signal. An error that follows a signal is therefore an interruption: it names itself, and
    if it had another cause the next start meets it again.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.request) for number in STOPPING}
    try:
        yield stop
    except Exception as error:
        if not stop.requested or isinstance(error, Interrupted):
            raise
        raise Interrupted(
            f"{stop.name}, and then {type(error).__name__}: {error}; start again to go on"
        ) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
