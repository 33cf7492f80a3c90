"""Circuit breakers: the state machine by itself, and in front of receivers that fail."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from alerting.channels import Sent
from alerting.metrics import Metrics
from alerting.reasons import Undelivered
from alerting.sending.breaker import FAILURES, OPEN_FIRST_S, OPEN_MAX_S, Breaker
from alerting.sending.circuits import Circuits
from tocsin_common.errors import Rejected, Retryable

Step = tuple[Literal["ask", "works", "fails", "nothing"], int]
STEPS = st.lists(st.tuples(st.sampled_from(["ask", "works", "fails", "nothing"]), st.integers(0, 40_000)), max_size=80)


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_whatever_happens_a_circuit_asks_once_after_each_wait_and_closes_with_the_first_success(
    steps: list[Step],
) -> None:
    breaker, now_ms = Breaker(), 0
    asked: list[bool] = []
    failures_in_a_row = 0
    for kind, later_ms in steps:
        now_ms += later_ms
        if kind == "ask":
            if not breaker.wait_s(now_ms):
                was = breaker.state(now_ms)
                asked.append(breaker.enter(now_ms))
                assert asked[-1] == (was == "half_open")
                assert asked.count(True) <= 1
        elif asked:
            probe, before = asked.pop(0), replace(breaker)
            if kind == "works":
                breaker.succeed()
                asked = [False for _ in asked]
                failures_in_a_row = 0
                assert breaker == Breaker()
            elif kind == "nothing":
                breaker.leave(probe=probe)
                assert (breaker.opened, breaker.failures) == (before.opened, before.failures)
            else:
                breaker.fail(now_ms, probe=probe)
                failures_in_a_row += 1
                assert breaker.opened <= before.opened + 1
        assert (breaker.state(now_ms) == "closed") == (breaker.opened == 0)
        assert breaker.opened == 0 or failures_in_a_row >= FAILURES
        assert breaker.wait_s(now_ms) <= OPEN_MAX_S


def test_each_probe_that_fails_doubles_the_wait_up_to_its_longest() -> None:
    breaker, now_ms, waits = Breaker(), 0, []
    for _ in range(FAILURES):
        breaker.fail(now_ms, probe=breaker.enter(now_ms))
    while not waits or waits[-1] < OPEN_MAX_S:
        waits.append(breaker.wait_s(now_ms))
        now_ms = breaker.open_until_ms
        breaker.fail(now_ms, probe=breaker.enter(now_ms))
    assert waits == [OPEN_FIRST_S * 2**n for n in range(len(waits) - 1)] + [OPEN_MAX_S]


class Watcher:
    """Circuits with a clock one can set."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.registry = CollectorRegistry()
        self.circuits = Circuits("webhook", Metrics(self.registry), Random(1), lambda: self.now_ms)

    def ask(self, outcome: Sent | Rejected | Retryable, *, host: str = "host", destination: str = "one") -> None:
        with self.circuits.watching(host, destination) as watched:
            watched.outcome = outcome

    def count(self, state: str) -> float | None:
        return self.registry.get_sample_value("alerting_circuits", {"channel": "webhook", "state": state})


DOWN = Retryable(Undelivered.CONNECTION_FAILED)


@pytest.mark.parametrize("reason", ["server_error", "connection_failed", "timeout", "connection_lost", "bad_reply"])
def test_a_host_that_fails_is_left_alone_by_all_its_destinations(reason: str) -> None:
    watcher = Watcher()
    for number in range(FAILURES):
        watcher.ask(Retryable(reason), destination=str(number))
    with pytest.raises(Retryable) as waiting:
        watcher.circuits.check("host", "another")
    assert waiting.value.reason == Undelivered.CIRCUIT_OPEN
    assert OPEN_FIRST_S <= (waiting.value.retry_after_s or 0) <= 1.25 * OPEN_FIRST_S
    watcher.circuits.check("another host", "another")


@pytest.mark.parametrize("reason", ["forbidden", "gone"])
def test_a_destination_that_does_not_want_us_is_left_alone_and_its_host_is_not(reason: str) -> None:
    watcher = Watcher()
    for _ in range(FAILURES):
        watcher.ask(Rejected(reason, ""))
    with pytest.raises(Retryable):
        watcher.circuits.check("host", "one")
    watcher.circuits.check("host", "another")


@pytest.mark.parametrize("reason", ["rate_limited", "channel_bug"])
def test_what_says_nothing_about_a_receiver_opens_no_circuit(reason: str) -> None:
    watcher = Watcher()
    for _ in range(2 * FAILURES):
        watcher.ask(Retryable(reason))
    watcher.circuits.check("host", "one")


def test_a_single_answer_in_between_keeps_a_circuit_closed() -> None:
    watcher = Watcher()
    for _ in range(3):
        for _ in range(FAILURES - 1):
            watcher.ask(DOWN)
        watcher.ask(Rejected(Undelivered.REFUSED, "its message, but it answered"))
    watcher.circuits.check("host", "one")


def test_a_probe_closes_the_circuit_and_one_at_a_time_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = Watcher()
    for _ in range(FAILURES):
        watcher.ask(DOWN)
    assert (watcher.count("open"), watcher.count("half_open")) == (1, 0)
    watcher.now_ms = int(OPEN_FIRST_S * 1000)
    assert (watcher.count("open"), watcher.count("half_open")) == (0, 1)
    with watcher.circuits.watching("host", "one") as probe:
        with pytest.raises(Retryable):
            watcher.circuits.check("host", "one")
        probe.outcome = Sent()
    watcher.circuits.check("host", "one")
    assert (watcher.count("open"), watcher.count("half_open")) == (0, 0)
    said = capsys.readouterr().out
    for sentence in ("circuit opened", "circuit half open, probing", "circuit closed"):
        assert sentence in said


def test_a_probe_that_was_never_sent_lets_the_next_one_probe() -> None:
    watcher = Watcher()
    for _ in range(FAILURES):
        watcher.ask(DOWN)
    watcher.now_ms = int(OPEN_FIRST_S * 1000)
    with pytest.raises(RuntimeError), watcher.circuits.watching("host", "one"):
        raise RuntimeError("the ledger was somebody else's")
    watcher.ask(Sent())
    assert watcher.count("open") == 0
