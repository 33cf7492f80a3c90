"""What happens next to a delivery: decided from its ledger, the clock and the channel's answer. Pure.

    queued --> attempting --> sent
                  |  ^  '---> failed | unknown | expired
                  v  |
                retrying ---> aside ---> digested

Each delivery ends in exactly one of sent, failed, unknown, expired, digested. What would come late is put aside, from
any state, unless its receiver may have it already: in doubt it is told by itself, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from alerting.channels import Ambiguous
from alerting.reasons import Undelivered
from tocsin_common.errors import Retryable
from tocsin_common.events import TERMINAL_STATES, DeliveryChanged, DeliveryState, SendDue

ATTEMPT_LIMIT_S = 22.0
"""No attempt lasts longer, whatever its channel does; every channel's own timeouts are shorter."""

LEASE_S = 26.0
"""An attempt younger than this may still be under way in another worker. Shorter than the 30 s after which the server
offers unsettled work again, so what a dead worker left is taken up at the first offer."""

BACKOFF_FIRST_S, BACKOFF_MAX_S = 1.0, 300.0


@dataclass(frozen=True, slots=True)
class Done:
    """It has ended before; nothing is to be done."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody may be at it: look again after the delay."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """Start request number `number`."""

    number: int


@dataclass(frozen=True, slots=True)
class PutAside:
    """Record that it waits for a digest, and put it where that is made."""


@dataclass(frozen=True, slots=True)
class Close:
    """Record a terminal state."""

    state: DeliveryState
    reason: Undelivered


@dataclass(frozen=True, slots=True)
class Again:
    """Record that another attempt follows after the delay."""

    delay_s: float


def next_step(
    last: DeliveryChanged | None, due: SendDue, *, now_ms: int, repeatable: bool
) -> Done | Wait | Attempt | PutAside | Close:
    """What to do with work that is due, given the ledger's last entry.

    `repeatable`: sending twice does no harm, because the receiver recognises our id or the subscriber prefers it.
    """
    if last is not None and last.state in TERMINAL_STATES:
        return Done()
    if last is not None and last.state == "aside":
        return PutAside()
    if last is not None and last.state == "attempting":
        age_s = (now_ms - last.at_ms) / 1000
        if age_s < LEASE_S:
            return Wait(LEASE_S - max(age_s, 0.0))
        if not repeatable or now_ms >= due.deadline_ms:
            return Close("unknown", Undelivered.INTERRUPTED)
        return Attempt(last.attempt + 1)
    if (last is None or not last.doubtful) and is_late(due, now_ms):
        return Close("expired", Undelivered.LATE) if due.late_dropped else PutAside()
    if now_ms >= due.deadline_ms:
        return Close("expired", Undelivered.DEADLINE)
    return Attempt(last.attempt + 1 if last else 1)


def after_failure(
    error: Retryable,
    attempt: int,
    due: SendDue,
    *,
    now_ms: int,
    doubtful: bool,
    repeatable: bool,
    max_attempts: int,
    random: Random,
) -> Again | PutAside | Close:
    """What follows an attempt that failed and might be repeated.

    A receiver that says when to come back is obeyed for as long as the alert is worth something: being rate limited
    does not use up attempts. Where the next attempt would come late, or there is none left, the alert is put aside.
    `doubtful`: an attempt before this one may have been taken. A digest is tried until its deadline.
    """
    reason = Undelivered(error.reason)
    ambiguous = isinstance(error, Ambiguous)
    if ambiguous and not repeatable:
        return Close("unknown", reason)
    exhausted = not due.digest and attempt >= max_attempts and reason is not Undelivered.RATE_LIMITED
    delay_s = backoff_s(attempt, random) if error.retry_after_s is None else error.retry_after_s
    next_ms = now_ms + int(delay_s * 1000)
    if due.late_ms and not due.late_dropped and not (ambiguous or doubtful) and (exhausted or is_late(due, next_ms)):
        return PutAside()
    if exhausted:
        return Close("failed", reason)
    if next_ms >= due.deadline_ms:
        return Close("unknown" if ambiguous else "expired", reason)
    return Again(delay_s)


def is_late(due: SendDue, at_ms: int) -> bool:
    """Whether it may not be sent singly any more at a moment."""
    return 0 < due.late_ms <= at_ms


def backoff_s(attempt: int, random: Random) -> float:
    """Exponential with jitter: between half and the whole of 1, 2, 4 ... 300 seconds."""
    longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(attempt - 1, 20))
    return longest * (0.5 + 0.5 * random.random())
