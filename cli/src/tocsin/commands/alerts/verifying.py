"""`tocsin alerts verify`: ask a destination whether it wants alerts."""

from __future__ import annotations

from typing import Annotated

import typer

from tocsin.commands.alerts.asking import ACTOR, ask
from tocsin.console import UsageError, out, run, told
from tocsin.moments import moment
from tocsin.options import DEFAULT_DATA_DIR, ConfigOption, DataDirOption, NatsOption, Target, target
from tocsin.servers import bus_for
from tocsin_common.events import CHANNELS
from tocsin_common.requests.verification import VERIFY, VerifyReply, VerifyRequest


def verify(
    subscriber_id: Annotated[str, typer.Argument(metavar="SUBSCRIBER", help="Whose destination it is.")],
    channel: Annotated[str, typer.Option(help="Its channel.")],
    place: Annotated[int, typer.Option(min=0, max=1000, help="Its number among those of its channel, from 0.")] = 0,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
) -> None:
    """Ask a destination that is not confirmed whether it wants alerts.

    Whoever is reached there gets a code, or a link. Until they confirm it nothing else goes there. An operator who
    knows that it is wanted can write `verified: true` instead.

    Example: `tocsin alerts verify me --channel email`

    What happens next: a code is on its way, good for a day. `tocsin alerts subscribers list` shows what is confirmed.
    """
    with told():
        if channel not in CHANNELS:
            raise UsageError(f"--channel {channel!r} is none of {', '.join(CHANNELS)}.")
    question = VerifyRequest(actor=ACTOR, subscriber_id=subscriber_id, channel=channel, place=place)
    reply = run(_verify(target(data_dir, config, nats), question))
    until = f", good until {moment(reply.expires_ms)} UTC" if reply.expires_ms else ""
    match reply.state:
        case "confirmed":
            out.print("It is confirmed.")
        case "sent":
            out.print(f"A code was sent there{until}.")
        case "open":
            out.print(f"The bot is to be sent /start {reply.code} from there{until}.")


async def _verify(where: Target, question: VerifyRequest) -> VerifyReply:
    async with bus_for(where, "alerts verify") as bus:
        return await ask(bus, VERIFY, question)
