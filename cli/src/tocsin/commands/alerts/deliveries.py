"""`tocsin alerts test`, `log` and `why`: what reaches people, what became of it, and why."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from tocsin.commands.alerts.asking import ACTOR, ask
from tocsin.commands.alerts.documents import JsonOption
from tocsin.commands.alerts.tables import log_table, show
from tocsin.console import EXIT_FAILED, UsageError, err, out, run, told
from tocsin.moments import moment
from tocsin.options import DEFAULT_DATA_DIR, ConfigOption, DataDirOption, NatsOption, Target, target
from tocsin.servers import bus_for
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import CHANNELS, ChannelName
from tocsin_common.requests import management as asked
from tocsin_common.requests.management import MAX_PAGE, LedgerEntry, Outcome, WhyReply

PATIENCE_S, LOOK_S = 20.0, 0.25
"""How long `test` waits for the end of its deliveries, and how often it looks."""

FAILURES = frozenset({"failed", "expired", "unknown"})

SIGNS: dict[Outcome, str] = {
    "sent": "[green]✓[/]",
    "not_sent": "[red]✗[/]",
    "under_way": "[yellow]…[/]",
    "uncertain": "[yellow]?[/]",
    "no_match": "[dim]–[/]",
}


def send_test(
    subscriber_id: Annotated[str, typer.Argument(metavar="SUBSCRIBER", help="Whom to send it to.")],
    channel: Annotated[str | None, typer.Option(help="Only by this channel.")] = None,
    json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
) -> None:
    """Send a real message that says it is a test, and tell what became of it.

    It goes the way of every alert, so it is counted and in the log; quiet hours and silences do not keep it back.

    Example: `tocsin alerts test me --channel telegram`

    What happens next: the message is there. Exit code 1: it did not arrive, and the sentence says why.
    """
    with told():
        if channel is not None and channel not in CHANNELS:
            raise UsageError(f"--channel {channel!r} is none of {', '.join(CHANNELS)}.")
    reply = run(_send(target(data_dir, config, nats), subscriber_id, channel))
    _tell(reply, json=json, evidence=False)
    states = {proof.event.get("state") for verdict in reply.verdicts for proof in verdict.evidence}
    if states & FAILURES or any(verdict.outcome != "sent" for verdict in reply.verdicts):
        raise typer.Exit(EXIT_FAILED)


def log(
    subscriber_id: Annotated[str, typer.Option("--subscriber", help="Only deliveries to this subscriber.")] = "",
    alert_id: Annotated[str, typer.Option("--alert", help="Only deliveries of this alert.")] = "",
    rows: Annotated[int, typer.Option(min=1, max=10_000, help="Most steps, the newest.")] = 50,
    json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
) -> None:
    """Show what happened to deliveries, the newest step first, from the ledger itself.

    Example: `tocsin alerts log --subscriber me --rows 20`

    What happens next: nothing is changed. `tocsin alerts why DELIVERY` tells the story of one.
    """
    question = asked.DeliveriesRequest(
        actor=ACTOR, subscriber_id=subscriber_id, alert_id=alert_id, limit=min(rows, MAX_PAGE)
    )
    found = run(_log(target(data_dir, config, nats), question, rows))
    if json:
        for entry in found:
            print(msgspec.json.encode(entry).decode())
    elif found:
        show(log_table(found))
    else:
        out.print("Nothing was delivered, nor tried.")


def why(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Of an alert, a delivery, a signal, an outcome, a rule.")],
    subscriber_id: Annotated[str, typer.Option("--subscriber", help="Only what concerns this subscriber.")] = "",
    evidence: Annotated[bool, typer.Option("--evidence", help="Also show the events that prove it.")] = False,
    json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
) -> None:
    """Tell why somebody did, or did not, get an alert: one sentence for each rule and subscriber.

    Of a rule: what it wants, what was seen last, and when it rang last.

    Example: `tocsin alerts why 0ce5d00a65bb52f4b9fabdf359e55e8a --subscriber me`

    What happens next: nothing is changed. The ids are in messages, in `tocsin alerts log`, and in the read API.
    """
    question = asked.WhyRequest(actor=ACTOR, id=wanted, subscriber_id=subscriber_id)
    _tell(run(_why(target(data_dir, config, nats), question)), json=json, evidence=evidence)


def _tell(reply: WhyReply, *, json: bool, evidence: bool) -> None:
    if json:
        print(msgspec.json.encode(reply).decode())
        return
    out.print(f"[bold]{escape(reply.about)}[/]")
    for verdict in reply.verdicts:
        of_rule = f" [dim](rule {escape(verdict.rule_id)})[/]" if verdict.rule_id else ""
        out.print(f"{SIGNS[verdict.outcome]} {escape(verdict.sentence)}{of_rule}")
        for proof in verdict.evidence if evidence else ():
            event = msgspec.json.encode(proof.event).decode()
            out.print(f"  [dim]{proof.stream} {proof.seq}, {moment(proof.stored_ms)}: {escape(event)}[/]")


async def _send(where: Target, subscriber_id: str, channel: ChannelName | None) -> WhyReply:
    async with bus_for(where, "alerts test") as bus:
        question = asked.SendTestRequest(actor=ACTOR, subscriber_id=subscriber_id, channel=channel)
        opened = await ask(bus, asked.SEND_TEST, question)
        with err.status("waiting for it to arrive", spinner="dots"):
            return await _ended(bus, opened.alert_id)


async def _ended(bus: Bus, alert_id: str) -> WhyReply:
    """What became of an alert, once nothing of it is under way, or when the patience ends."""
    question = asked.WhyRequest(actor=ACTOR, id=alert_id)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while True:
        reply = await ask(bus, asked.WHY, question)
        if loop.time() > deadline or not any(verdict.outcome == "under_way" for verdict in reply.verdicts):
            return reply
        await asyncio.sleep(LOOK_S)


async def _log(where: Target, question: asked.DeliveriesRequest, rows: int) -> list[LedgerEntry]:
    async with bus_for(where, "alerts log") as bus:
        found: list[LedgerEntry] = []
        while True:
            page = await ask(bus, asked.DELIVERY_LOG, question)
            found += page.items
            if page.next_before is None or len(found) >= rows:
                return found[:rows]
            question = msgspec.structs.replace(question, before=page.next_before)


async def _why(where: Target, question: asked.WhyRequest) -> WhyReply:
    async with bus_for(where, "alerts why") as bus:
        return await ask(bus, asked.WHY, question)
