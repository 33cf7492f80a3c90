"""What is older than the newest messages is found all the same, and an answer is made of the stream alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.alerts import CONFIRMED_MS, a_signal
from tests.managed import ANN, OPERATOR, Managed

from alerting.gateway import Gateway
from alerting.pipeline import delivery_id_of
from alerting.why import archive, whereabouts
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import SignalRule, encode
from tocsin_common.errors import Rejected
from tocsin_common.events import AlertRaised, AlertSuppressed, DeliveryChanged
from tocsin_common.requests.management import WhyRequest
from tocsin_common.streams import ALERT_RULES

OLD = a_signal()
RULE = SignalRule(rule_id="all", name="All", subscribers=["ann", "bob"])
ABOUT: dict[str, Any] = {"alert_id": "alert1", "rule_id": "all", "cause_id": OLD.signal_id, "ts_ms": OLD.confirmed_ms}
RANG = AlertRaised(
    **ABOUT,
    kind="signal",
    exchange="binance",
    symbol="BTC/USDT",
    title="t",
    text="",
    fields={},
    subscribers=["ann"],
)
SPARED = AlertSuppressed(**ABOUT, subscriber_id="bob", reason="muted")
SENT = DeliveryChanged(
    delivery_id=delivery_id_of("alert1", "ann", "email", 0),
    alert_id="alert1",
    subscriber_id="ann",
    channel="email",
    state="queued",
    attempt=0,
    at_ms=1,
)


class Rows(Gateway):
    """The read API, with what the gateway would have made of these events."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1", "")

    async def get(
        self, path: str, kind: Any, params: Mapping[str, str | int] | None = None, *, statuses: tuple[int, ...] = ()
    ) -> Any:
        if path == "/alerts":
            asked = {name: value for name, value in (params or {}).items() if name in ("alert_id", "cause_id")}
            rows = [
                {"exchange": None, "symbol": None}
                | msgspec.to_builtins(event)
                | {"event_id": event.event_id, "decision": decision}
                for event, decision in ((RANG, "raised"), (SPARED, "suppressed"))
                if all(getattr(event, name) == value for name, value in asked.items())
            ]
            return msgspec.convert({"items": rows}, kind)
        found = path == f"/signals/{OLD.signal_id}"
        return msgspec.convert(msgspec.to_builtins(OLD) if found else {"status": 404}, kind)


@pytest.fixture
async def long_ago(memory_bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> MemoryBus:
    """A signal and its alert, before more messages than are remembered."""
    monkeypatch.setattr(whereabouts, "REMEMBERED", 2)
    monkeypatch.setattr(archive, "PAGE_MESSAGES", 2)
    await memory_bus.bucket(ALERT_RULES).put("all", encode(RULE))
    later = [a_signal(CONFIRMED_MS + n * 3_600_000) for n in range(1, 6)]
    others = [
        replace(SPARED, alert_id=f"other{n}", cause_id=one.signal_id, subscriber_id=None) for n, one in enumerate(later)
    ]
    await memory_bus.publish([later[0], OLD, *later[1:], others[0], SPARED, RANG, SENT, *others[1:]])
    return memory_bus


@pytest.mark.parametrize("wanted", ["alert1", OLD.signal_id, SENT.delivery_id])
async def test_what_is_older_than_what_is_remembered_is_found(long_ago: MemoryBus, wanted: str) -> None:
    why = (await Managed.on(long_ago, Rows())).why
    reply = await why.answer(WhyRequest(actor=OPERATOR, id=wanted))
    assert reply.about == "Long BTC/USDT, 1h: EMA cross (2024-08-09 01:00 UTC)"
    sentences = [one.sentence for one in reply.verdicts]
    assert sentences[0] == "ann: waiting to be sent on email."
    assert wanted == SENT.delivery_id or sentences[1:] == ["Not sent to bob: everything was muted."]
    assert [proof.event["type"] for proof in reply.verdicts[0].evidence] == ["alert.v1", "delivery.v1"]


@pytest.mark.parametrize("wanted", ["alert1", SENT.delivery_id])
async def test_what_was_delivered_to_the_asker_is_found_while_the_read_api_is_away(
    long_ago: MemoryBus, wanted: str
) -> None:
    why = (await Managed.on(long_ago)).why
    assert (await why.answer(WhyRequest(actor=ANN, id=wanted))).verdicts[0].sentence == (
        "ann: waiting to be sent on email."
    )


async def test_an_old_signal_of_which_nothing_was_stated_is_judged_by_the_rules(long_ago: MemoryBus) -> None:
    shorts = SignalRule(rule_id="shorts", name="Shorts", subscribers=["ann"], sides=["short"])
    await long_ago.bucket(ALERT_RULES).put("shorts", encode(shorts))
    why = (await Managed.on(long_ago, Rows())).why
    reply = await why.answer(WhyRequest(actor=ANN, id=OLD.signal_id))
    assert reply.verdicts[-1].sentence == "The rule 'Shorts' did not match: the side is long, it wants short."


async def test_where_the_read_api_is_away_it_is_said_what_was_not_looked_at(long_ago: MemoryBus) -> None:
    for gateway, said in ((None, "only the newest"), (Rows(), "or nothing for you$")):
        why = (await Managed.on(long_ago, gateway)).why
        with pytest.raises(Rejected, match=said):
            await why.answer(WhyRequest(actor=OPERATOR, id="nothing1"))
