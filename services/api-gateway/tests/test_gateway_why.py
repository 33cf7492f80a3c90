"""The read API tells alerting where old things are on the streams, so that `why` has an answer for whatever is kept."""

from __future__ import annotations

from typing import Any

import pytest
from tests.managed import OPERATOR, Managed

from alerting.gateway import Gateway
from alerting.why import whereabouts
from tocsin_common.errors import Rejected
from tocsin_common.requests.management import WhyRequest


async def test_why_finds_by_the_read_api_what_it_does_not_remember(
    reading: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whereabouts, "REMEMBERED", 2)
    signals = [make.signal(n) for n in range(6)]
    wanted = signals[0].signal_id
    raised = make.alert(wanted, alert_id="alert1", exchange=signals[0].exchange, symbol=signals[0].symbol)
    spared = make.suppressed(wanted, alert_id="alert1")
    later = [make.suppressed(one.signal_id, alert_id=f"other{n}") for n, one in enumerate(signals[1:])]
    events = [*signals, spared, raised, *later]
    await reading.bus.publish(events)
    await reading.fill(events)
    gateway = Gateway(reading.url, "")
    try:
        why = (await Managed.on(reading.bus, gateway)).why
        for asked in ("alert1", wanted):
            reply = await why.answer(WhyRequest(actor=OPERATOR, id=asked))
            assert [(one.subscriber_id, one.outcome) for one in reply.verdicts] == [
                ("ann", "not_sent"),
                ("bob", "not_sent"),
            ]
            assert reply.verdicts[1].sentence == "Not sent to bob: everything was muted."
        with pytest.raises(Rejected, match=r"or nothing for you$"):
            await why.answer(WhyRequest(actor=OPERATOR, id="nothing1"))
    finally:
        await gateway.close()
