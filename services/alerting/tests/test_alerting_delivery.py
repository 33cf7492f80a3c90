"""What happens next to a delivery: every state, every answer."""

from __future__ import annotations

from random import Random

import pytest

from alerting.channels import Ambiguous
from alerting.sending.delivery import (
    ATTEMPT_LIMIT_S,
    LEASE_S,
    Again,
    Attempt,
    Close,
    Done,
    Wait,
    after_failure,
    backoff_s,
    next_step,
)
from tocsin_common.errors import Retryable
from tocsin_common.events import DeliveryChanged, DeliveryState, SendDue
from tocsin_common.streams import ALERTING_SEND

DEADLINE_MS = 1_000_000
DUE = SendDue(
    delivery_id="d",
    alert_id="a",
    subscriber_id="ada",
    channel="telegram",
    title="t",
    text="",
    fields={},
    ts_ms=0,
    queued_ms=0,
    deadline_ms=DEADLINE_MS,
)
STALE_MS = int(LEASE_S * 1000)


def entry(state: DeliveryState, attempt: int = 0, at_ms: int = 0) -> DeliveryChanged:
    return DeliveryChanged(
        delivery_id="d",
        alert_id="a",
        subscriber_id="ada",
        channel="telegram",
        state=state,
        attempt=attempt,
        at_ms=at_ms,
    )


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_queued_delivery_is_attempted(repeatable: bool) -> None:
    assert next_step(entry("queued"), DUE, now_ms=0, repeatable=repeatable) == Attempt(1)
    assert next_step(None, DUE, now_ms=0, repeatable=repeatable) == Attempt(1)
    assert next_step(entry("retrying", 3), DUE, now_ms=0, repeatable=repeatable) == Attempt(4)


@pytest.mark.parametrize("state", ["sent", "failed", "unknown", "expired"])
def test_a_delivery_that_ended_is_left_alone(state: DeliveryState) -> None:
    assert next_step(entry(state, 1), DUE, now_ms=DEADLINE_MS * 2, repeatable=True) == Done()


def test_after_its_deadline_a_delivery_expires() -> None:
    for last in (None, entry("queued"), entry("retrying", 1)):
        assert next_step(last, DUE, now_ms=DEADLINE_MS, repeatable=True) == Close("expired", "deadline")  # type: ignore[arg-type]


def test_an_attempt_that_may_be_under_way_is_waited_for() -> None:
    assert next_step(entry("attempting", 1), DUE, now_ms=1_000, repeatable=False) == Wait(LEASE_S - 1)
    assert next_step(entry("attempting", 1, at_ms=5_000), DUE, now_ms=0, repeatable=False) == Wait(LEASE_S)


def test_an_interrupted_attempt_is_repeated_only_where_that_does_no_harm() -> None:
    interrupted = entry("attempting", 2)
    assert next_step(interrupted, DUE, now_ms=STALE_MS, repeatable=True) == Attempt(3)
    assert next_step(interrupted, DUE, now_ms=STALE_MS, repeatable=False) == Close("unknown", "interrupted")  # type: ignore[arg-type]


def test_an_interrupted_attempt_is_unknown_after_the_deadline_not_expired() -> None:
    late = next_step(entry("attempting", 1), DUE, now_ms=DEADLINE_MS + STALE_MS, repeatable=True)
    assert late == Close("unknown", "interrupted")  # type: ignore[arg-type]


def fails(error: Retryable, *, attempt: int = 1, now_ms: int = 0, repeatable: bool = False) -> object:
    return after_failure(
        error,
        attempt,
        DUE,
        now_ms=now_ms,
        doubtful=False,
        repeatable=repeatable,
        max_attempts=3,
        random=Random(1),
    )


def test_a_time_to_wait_is_honoured_to_the_second() -> None:
    assert fails(Retryable("rate_limited", retry_after_s=17.0)) == Again(17.0)


def test_otherwise_the_wait_doubles_with_jitter_up_to_a_limit() -> None:
    random = Random(7)
    for attempt, longest in [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (50, 300)]:
        waits = [backoff_s(attempt, random) for _ in range(50)]
        assert longest / 2 <= min(waits) < max(waits) <= longest


def test_after_the_last_attempt_it_failed() -> None:
    assert fails(Retryable("server_error"), attempt=3) == Close("failed", "server_error")  # type: ignore[arg-type]


def test_being_told_to_wait_uses_up_no_attempts() -> None:
    assert fails(Retryable("rate_limited", retry_after_s=5.0), attempt=30) == Again(5.0)


def test_a_wait_beyond_the_deadline_ends_it_now() -> None:
    error = Retryable("rate_limited", retry_after_s=60.0)
    assert fails(error, now_ms=DEADLINE_MS - 60_000) == Close("expired", "rate_limited")  # type: ignore[arg-type]


def test_doubt_is_unknown_unless_repeating_does_no_harm() -> None:
    assert fails(Ambiguous("timeout")) == Close("unknown", "timeout")  # type: ignore[arg-type]
    assert isinstance(fails(Ambiguous("timeout"), repeatable=True), Again)


def test_an_attempt_ends_before_its_lease_and_its_lease_before_the_work_is_offered_again() -> None:
    assert ATTEMPT_LIMIT_S < LEASE_S
    assert all(durable.ack_wait_s > LEASE_S for durable in ALERTING_SEND.values())
