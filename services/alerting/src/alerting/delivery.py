"""What happens next to a delivery: decided from its ledger, the clock and the channel's answer. Pure.

    queued --> attempting --> sent
                  |  ^  '---> failed | unknown | expired
                  v  |
                retrying

Each delivery ends in exactly one of sent, failed, unknown, expired.
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
) -> Done | Wait | Attempt | Close:
    """What to do with work that is due, given the ledger's last entry.

    `repeatable`: sending twice does no harm, because the receiver recognises our id or the subscriber prefers it.
    """
    if last is None:
        return Attempt(1) if now_ms < due.deadline_ms else Close("expired", Undelivered.DEADLINE)
    if last.state in TERMINAL_STATES:
        return Done()
    if last.state == "attempting":
        age_s = (now_ms - last.at_ms) / 1000
        if age_s < LEASE_S:
            return Wait(LEASE_S - max(age_s, 0.0))
        if not repeatable or now_ms >= due.deadline_ms:
            return Close("unknown", Undelivered.INTERRUPTED)
    elif now_ms >= due.deadline_ms:
        return Close("expired", Undelivered.DEADLINE)
    return Attempt(last.attempt + 1)


def after_failure(
    error: Retryable, attempt: int, due: SendDue, *, now_ms: int, repeatable: bool, max_attempts: int, random: Random
) -> Again | Close:
    """What follows an attempt that failed and might be repeated.

    A receiver that says when to come back is obeyed for as long as the alert is worth something: being rate limited
    does not use up attempts.
    """
    reason = Undelivered(error.reason)
    if isinstance(error, Ambiguous) and not repeatable:
        return Close("unknown", reason)
    if attempt >= max_attempts and reason is not Undelivered.RATE_LIMITED:
        return Close("failed", reason)
    delay_s = backoff_s(attempt, random) if error.retry_after_s is None else error.retry_after_s
    if now_ms + delay_s * 1000 >= due.deadline_ms:
        ambiguous = isinstance(error, Ambiguous)
        return Close("unknown" if ambiguous else "expired", reason)
    return Again(delay_s)


def backoff_s(attempt: int, random: Random) -> float:
    """Exponential with jitter: between half and the whole of 1, 2, 4 ... 300 seconds."""
    longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(attempt - 1, 20))
    return longest * (0.5 + 0.5 * random.random())
