"""What became of one message's requests, and what it means that its service did not take it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock

from alerting.channels import Ambiguous
from alerting.channels.http import judge
from alerting.reasons import Undelivered
from tocsin_common.errors import Rejected, Retryable

REQUESTS_MAX = 16
"""More than any message needs; an address that names a thousand receivers is somebody's mailing list."""


@dataclass(slots=True)
class Exchange:
    """One message's requests, until `deadline_s` of the monotonic clock. `private`: addresses are not checked.

    `answers`: status and headers of what was answered. `unsent`: there was no connection; `unanswered`: there was one,
    and no answer came of it, or none in time (`late`); `forbidden`: we would not ask.
    """

    deadline_s: float
    private: bool
    answers: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)
    asked: int = 0
    unsent: bool = False
    unanswered: bool = False
    late: bool = False
    forbidden: bool = False
    _lock: Lock = field(default_factory=Lock)

    def left_s(self) -> float:
        """Begin a request; returns the seconds it has. 0: there may be no more."""
        with self._lock:
            left_s = self.deadline_s - time.monotonic()
            if left_s <= 0 or self.asked >= REQUESTS_MAX:
                self.unsent = True
                return 0.0
            self.asked += 1
            return left_s

    def give_up(self) -> bool:
        """Let no request begin any more. Returns whether none has."""
        with self._lock:
            self.deadline_s = 0.0
            return not self.asked

    def refuse(self) -> None:
        """Raise what it means that the service did not take the message.

        Where one of several receivers has it, or an answer looks like success and the service does not think so, it may
        have been taken.
        """
        if self.forbidden:
            raise Rejected(Undelivered.FORBIDDEN_ADDRESS, "not a public https address")
        if not (self.asked or self.unsent):
            raise Rejected(Undelivered.BAD_ADDRESS, "the service refused the address or the message")
        if any(status < 300 for status, _ in self.answers):
            raise Ambiguous(Undelivered.BAD_REPLY, "the service takes an answer for no success")
        if self.unanswered:
            late = self.late
            reason = Undelivered.TIMEOUT if late else Undelivered.CONNECTION_LOST
            raise Ambiguous(reason, "no answer in time" if late else "no answer")
        for status, headers in self.answers:
            judge(status, headers)
        raise Retryable(Undelivered.CONNECTION_FAILED, "no connection")


IN_HAND: ContextVar[Exchange] = ContextVar("in_hand")
"""The exchange of the message that a thread is sending."""
