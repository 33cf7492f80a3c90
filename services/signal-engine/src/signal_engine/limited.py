"""Time limits for other people's code, which must not be able to stop the market.

The code runs where it always runs, in the main thread, and an alarm of the operating system (setitimer(2)) raises
inside it. So a loop really ends, and a sleep or a read from the network too; a thread that is abandoned would go on and
take its share of the interpreter for ever. Python that Polars calls from threads of its own hears no alarm, while the
main thread waits for it: a watch raises inside these, as soon as the limit is over.

What lies between two steps of the interpreter cannot be stopped: a call into native code that does not return.
"""

from __future__ import annotations

import ctypes
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

AGAIN_S = 1.0
"""Code that swallows the alarm gets it again, this often; and as often the watch looks."""


class TooSlow(BaseException):
    """Code did not end in its time; the text says where it was. No `Exception`: code that catches these would go on."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TooSlow inside the block once it has run this long, by the wall clock. Only in the main thread; blocks do
    not nest."""
    running, watch = True, _watch()

    def alarm(_number: int, frame: FrameType | None) -> None:
        if running:
            raise TooSlow(f"still {_place(frame)} after {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, alarm)
    watch.begin(seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    except TooSlow:
        if watch.ended is None:
            raise
        raise TooSlow(f"still {watch.ended} after {seconds:g} s") from None
    finally:
        running = False
        watch.end()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous or signal.SIG_DFL)


class _Watch(threading.Thread):
    """Ends Python that threads of others still run when the limit is over; `ended` is where such code was."""

    def __init__(self) -> None:
        super().__init__(name="watch", daemon=True)
        self.ended: str | None = None
        self._before: frozenset[int] = frozenset()
        self._over_s = math.inf

    def begin(self, seconds: float) -> None:
        self._before = frozenset(sys._current_frames())
        self.ended, self._over_s = None, time.monotonic() + seconds

    def end(self) -> None:
        self._over_s = math.inf

    def run(self) -> None:
        while True:
            time.sleep(AGAIN_S)
            if time.monotonic() > self._over_s:
                self._raise()

    def _raise(self) -> None:
        """Raise TooSlow in every thread that runs Python, did not when the time began, and is none of Python's own."""
        own = {thread.ident for thread in threading.enumerate() if not isinstance(thread, threading._DummyThread)}
        for ident, frame in sys._current_frames().items():
            if ident not in own and ident not in self._before:
                self.ended = _place(frame)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TooSlow))


@cache
def _watch() -> _Watch:
    watch = _Watch()
    watch.start()
    return watch


def _place(frame: FrameType | None) -> str:
    if frame is None:
        return "running"
    return f"in {frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}, line {frame.f_lineno})"
