"""How often something may be done by whoever comes: so often on average, and so many times at once."""

from __future__ import annotations

import time
from collections.abc import Callable


class Allowance:
    """A token bucket of one process: `burst` at once, then `per_s`."""

    def __init__(self, *, per_s: float, burst: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst, self._clock_s = per_s, burst, clock_s
        self._left, self._at_s = float(burst), clock_s()

    def wait_s(self) -> float:
        """Take one. 0: there was one; otherwise none is taken, and one is there after so many seconds."""
        now_s = self._clock_s()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return (1 - self._left) / self._per_s
        self._left -= 1
        return 0.0
