"""`tocsin alerts`: what people set is written and read through alerting, and what became of alerts is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from msgspec.structs import replace
from tests.alerts import PRICE_RULE, a_signal
from tests.managed import NOW_MS, Managed
from typer.testing import CliRunner

from tocsin.__main__ import app
from tocsin.commands.alerts.silence import duration_ms
from tocsin.console import UsageError
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.events import DeliveryChanged, SendDue
from tocsin_common.requests.verification import VERIFY, VerifyReply, VerifyRequest
from tocsin_common.streams import ALERTING_SEND, DELIVERIES

ME = {
    "subscriber_id": "me",
    "name": "Me",
    "destinations": [{"channel": "email", "address": "ann.smith@example.org"}],
    "quiet_hours": {"start": "22:00", "end": "07:00", "zone": "Europe/Berlin"},
}
RULES = [
    {"kind": "signal", "rule_id": "longs", "name": "Longs", "subscribers": ["me"], "sides": ["long"]},
    {**PRICE_RULE, "enabled": False},
]


@dataclass
class Shell:
    """Runs commands against a server on which alerting answers."""

    bus: JetStreamBus
    nats_url: str
    folder: Path

    async def __call__(self, *words: str, given: str | None = None) -> Result:
        command = ["alerts", *words, "--nats", self.nats_url, "--data-dir", str(self.folder)]
        return await asyncio.to_thread(CliRunner().invoke, app, command, input=given)

    async def said(self, *words: str, given: str | None = None) -> str:
        """What a command prints that does what it should."""
        result = await self(*words, given=given)
        assert result.exit_code == 0, result.output
        return result.stdout

    async def refused(self, *words: str, given: str | None = None) -> str:
        """What a command prints that was used wrongly."""
        result = await self(*words, given=given)
        assert result.exit_code == 2, result.output
        return " ".join(result.stderr.split())


@pytest.fixture
async def shell(jetstream_bus: JetStreamBus, nats_url: str, tmp_path: Path) -> AsyncIterator[Shell]:
    found = Shell(jetstream_bus, nats_url, tmp_path)
    async with (await Managed.on(jetstream_bus)).served():
        await found.said("subscribers", "put", "-", given=yaml.safe_dump(ME))
        await found.said("rules", "put", "-", given=json.dumps(RULES))
        yield found


async def test_documents_are_written_listed_shown_edited_and_deleted(shell: Shell) -> None:
    table = await shell.said("rules", "list")
    for text in ("longs", "Longs", "signal", "long", "high", "binance BTC/USDT", "100000", "off"):
        assert text in table
    listed = json.loads(await shell.said("rules", "list", "--json"))
    assert [(one["id"], one["document"]["kind"]) for one in listed] == [("high", "price"), ("longs", "signal")]
    shown = yaml.safe_load(await shell.said("rules", "show", "high"))
    mine = shell.folder / "mine.yaml"
    mine.write_text(yaml.safe_dump(shown | {"enabled": True}))
    assert "wrote the rule high, now at revision 3" in await shell.said("rules", "put", str(mine))
    assert "off" not in await shell.said("rules", "list")
    mine.write_text(yaml.safe_dump(shown))
    assert "not at revision 1 any more" in await shell.refused("rules", "put", str(mine), "--revision", "1")
    await shell.said("rules", "delete", "high")
    assert "there is no rule 'high' (`list` shows what there is)" in await shell.refused("rules", "show", "high")


async def test_a_subscriber_is_shown_and_edited_without_an_address(shell: Shell) -> None:
    assert "email a…@example.org" in await shell.said("subscribers", "list")
    text = await shell.said("subscribers", "show", "me")
    assert "ann.smith" not in text
    await shell.said("subscribers", "put", "-", given=text.replace("name: Me", "name: Ann"))
    shown = json.loads(await shell.said("subscribers", "show", "me", "--json"))
    assert (shown["document"]["name"], shown["document"]["destinations"][0]["hint"]) == ("Ann", "a…@example.org")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is no YAML"),
        ("kind: signal", "document 1: not a mapping with a `rule_id`"),
        ("- 7", "document 1: not a mapping"),
        ("{rule_id: a, kind: signal, name: n, subscribers: [], colour: red}", "colour"),
        ("{rule_id: a, kind: price, name: n}", "not a valid rule: Object missing required field `subscribers`"),
    ],
)
async def test_a_wrong_file_is_told_with_its_place(shell: Shell, text: str, problem: str) -> None:
    assert problem in await shell.refused("rules", "put", "-", given=text)


async def test_a_file_that_is_not_there_is_told(shell: Shell) -> None:
    assert "cannot be read" in await shell.refused("rules", "put", str(shell.folder / "no.yaml"))


async def test_a_silence_is_made_listed_and_ended(shell: Shell) -> None:
    made = await shell.said(
        "silence", "add", "--for", "2h", "--symbol", "BTC/USDT", "--symbol", "ETH/USDT", "--severity", "info",
        "--comment", "upkeep", "--id", "now",
    )  # fmt: skip
    assert "silenced until " in made
    [silence] = json.loads(await shell.said("silence", "list", "--json"))
    document = silence["document"]
    assert document["ends_ms"] - document["starts_ms"] == 2 * 3_600_000
    assert (document["symbols"], document["severities"]) == (["BTC/USDT", "ETH/USDT"], ["info"])
    assert "BTC/USDT,ETH/USDT info" in await shell.said("silence", "list")
    await shell.said("silence", "end", "now")
    assert "--past" in await shell.said("silence", "list")
    assert "is over since" in await shell.refused("silence", "end", "now")
    await shell.said("silence", "add", "--for", "1d", "--everything", "--from", "2999-01-01", "--id", "later")
    await shell.said("silence", "end", "later")
    past = json.loads(await shell.said("silence", "list", "--past", "--json"))
    assert [one["id"] for one in past] == ["now"]


async def test_everything_is_silenced_only_by_saying_so(shell: Shell) -> None:
    assert "`--everything`" in await shell.refused("silence", "add", "--for", "2h")
    assert "`--everything`" in await shell.refused("silence", "add", "--for", "2h", "--everything", "--rule", "a")


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7200), ("30m", 1800), ("1d12h", 129_600), ("90s", 90)])
def test_durations_are_read_as_people_write_them(text: str, seconds: int) -> None:
    assert duration_ms(text) == seconds * 1000


@pytest.mark.parametrize("text", ["", "2", "h", "0h", "1h2d", "-1h", "1.5h", "999999d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no duration"):
        duration_ms(text)


async def deliver(bus: JetStreamBus, state: Any, reason: str) -> None:
    """Do what the sender does with one mail."""
    consumer = bus.consumer(ALERTING_SEND["email", "info"])
    [message] = await consumer.fetch(1, 10)
    due = message.event()
    assert isinstance(due, SendDue)
    last = await bus.last(DELIVERIES, f"deliveries.email.{due.delivery_id}")
    opened = last.event() if last else None
    assert isinstance(opened, DeliveryChanged)
    step = replace(opened, state="attempting", attempt=1)
    await bus.publish([step, replace(step, state=state, reason=reason, at_ms=NOW_MS + 400)])
    await consumer.close()


@pytest.mark.parametrize(
    ("state", "reason", "code", "told"),
    [
        ("sent", "", 0, "✓ me: sent on email"),
        ("failed", "refused", 1, "✗ me: not sent on email: the message was refused."),
    ],
)
async def test_a_test_tells_what_became_of_it(shell: Shell, state: str, reason: str, code: int, told: str) -> None:
    result, _ = await asyncio.gather(shell("test", "me"), deliver(shell.bus, state, reason))
    assert result.exit_code == code, result.output
    assert told in result.stdout
    log = await shell.said("log", "--subscriber", "me")
    for text in ("email", "queued", "attempting", state, reason):
        assert text in log
    entries = [json.loads(line) for line in (await shell.said("log", "--rows", "2", "--json")).splitlines()]
    assert [one["change"]["state"] for one in entries] == [state, "attempting"]
    assert await shell.said("log", "--subscriber", "nobody") == "Nothing was delivered, nor tried.\n"


async def test_why_tells_what_a_rule_wanted(shell: Shell) -> None:
    short = a_signal(side="short", stop=110.0, targets=[90.0])
    await shell.bus.publish([short])
    text = await shell.said("why", short.signal_id, "--subscriber", "me", "--evidence")
    assert "Short BTC/USDT, 1h: EMA cross" in text
    assert "– The rule 'Longs' did not match: the side is short, it wants long. (rule longs)" in text
    assert "SIGNALS" in text
    reply = json.loads(await shell.said("why", short.signal_id, "--json"))
    assert [one["outcome"] for one in reply["verdicts"]] == ["no_match"]
    assert "nothing is stored of 'nonsense'" in await shell.refused("why", "nonsense")


async def test_where_alerting_is_not_running_the_remedy_is_told(
    jetstream_bus: JetStreamBus, nats_url: str, tmp_path: Path
) -> None:
    result = await Shell(jetstream_bus, nats_url, tmp_path)("rules", "list")
    assert result.exit_code == 1
    assert "nobody answers alerting.list" in result.stderr
    assert "`tocsin up`" in result.stderr


async def test_an_unknown_channel_is_told(shell: Shell) -> None:
    assert "--channel 'pigeon' is none of console, telegram" in await shell.refused("test", "me", "--channel", "pigeon")


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (VerifyReply(state="confirmed"), "It is confirmed."),
        (VerifyReply(state="sent", expires_ms=0), "A code was sent there."),
        (VerifyReply(state="open", code="abc", expires_ms=NOW_MS), "sent /start abc from there, good until 2023-11-14"),
    ],
)
async def test_verifying_tells_what_follows(shell: Shell, reply: VerifyReply, told: str) -> None:
    async def verify(question: VerifyRequest) -> VerifyReply:
        assert (question.subscriber_id, question.channel, question.place) == ("me", "email", 0)
        return reply

    async with shell.bus.serve(VERIFY, verify):
        assert told in await shell.said("verify", "me", "--channel", "email")
