"""The tree of errors. A library's exceptions stop at the edge that uses it and become one of these."""

from __future__ import annotations


class TocsinError(Exception):
    """Anything Tocsin itself reports. The message is a sentence: what, where, and the remedy.

    `exit_code` is that of a process this error ends: 2 for wrong configuration or input, where trying again is no use.
    """

    exit_code = 1


class ConfigError(TocsinError):
    """The configuration is wrong. Carries every problem found, one sentence each."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class Unreachable(TocsinError):
    """A server did not answer: names the URL (without credentials), what was tried and what to do."""


class Malformed(TocsinError):
    """Bytes that are not a valid event, or an event that breaks its own rules. Never retried."""


class Rejected(TocsinError):
    """The input is well-formed but will never be accepted; `reason` is a metric label."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


class Retryable(TocsinError):
    """A passing failure: try again after `retry_after_s` seconds (None: the caller's own backoff)."""

    def __init__(self, reason: str, detail: str = "", *, retry_after_s: float | None = None) -> None:
        self.reason = reason
        self.retry_after_s = retry_after_s
        super().__init__(f"{reason}: {detail}" if detail else reason)


class Conflict(TocsinError):
    """Somebody else wrote first: the expected last sequence or revision no longer holds."""
