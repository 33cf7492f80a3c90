"""Time limits for other people's code, which must not be able to stop the market.

The code runs where it always runs, in the main thread, and an alarm of the operating system (setitimer(2)) raises
inside it. So a loop really ends, and a sleep or a read from the network too; a thread that is abandoned would go on and
take its share of the interpreter for ever. What lies between two steps of the interpreter cannot be stopped this way: a
call into native code that does not return (`sum(itertools.count())`), or Python that Polars calls from its own threads.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

AGAIN_S = 1.0
"""Code that swallows the alarm gets it again, this often."""


class TooSlow(BaseException):
    """Code did not end in its time; the text says where it was. No `Exception`: code that catches these would go on."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TooSlow inside the block once it has run this long, by the wall clock. Only in the main thread; blocks do
    not nest."""
    running = True

    def alarm(_number: int, frame: FrameType | None) -> None:
        if running:
            raise TooSlow(f"still {_place(frame)} after {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous or signal.SIG_DFL)


def _place(frame: FrameType | None) -> str:
    if frame is None:
        return "running"
    code = frame.f_code
    return f"in {code.co_name} ({Path(code.co_filename).name}, line {frame.f_lineno})"
