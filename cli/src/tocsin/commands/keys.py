"""`tocsin keys`: API keys are made, listed and revoked here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, cast

import typer
from rich.markup import escape
from rich.table import Table

from api_gateway.keys import new_key
from tocsin.console import UsageError, err, out, run, told
from tocsin.options import DEFAULT_DATA_DIR, ConfigOption, DataDirOption, NatsOption, Target, target
from tocsin.servers import bus_for
from tocsin_common import documents
from tocsin_common.decoding import decode
from tocsin_common.documents import SCOPES, ApiKey, Scope
from tocsin_common.errors import Conflict, Malformed
from tocsin_common.streams import API_KEYS
from tocsin_common.subjects import encode_token

DAY_MS = 24 * 3600 * 1000

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, for your own memory: `dashboard`, `anna`.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help="`read` (the read API; if left out), `manage` (one subscriber's own rules, silences and settings), "
            "`operate` (everybody's). May be given several times.",
        ),
    ] = None,
    subscriber: Annotated[
        str, typer.Option(metavar="ID", help="Whose things a key with the scope `manage` is for.")
    ] = "",
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Expires after so many days; never if left out.")
    ] = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
) -> None:
    """Make an API key and print its token, once.

    Only the hash of the token is stored: whoever loses it needs a new one. The gateway asks for keys unless it listens
    on loopback and no key exists.

    Example: `tocsin keys create dashboard --days 365`, or `tocsin keys create ann-app --scope manage --subscriber ann`

    What happens next: the key works at once. Send it as the header `Authorization: Bearer <token>`.
    """
    expires_ms = None if days is None else time.time_ns() // 1_000_000 + days * DAY_MS
    with told():
        token, key = _new(name, scope or ["read"], subscriber, expires_ms)
    run(_store(target(data_dir, config, nats), key))
    err.print(f"Key {key.key_id} ({escape(name)}), {_until(key)}. The token is shown this once:")
    print(token)


@app.command("list")
def list_keys(data_dir: DataDirOption = DEFAULT_DATA_DIR, config: ConfigOption = None, nats: NatsOption = None) -> None:
    """List the API keys: their ids, names and expiry. Tokens are not stored and cannot be shown.

    Example: `tocsin keys list`

    What happens next: nothing is changed; `tocsin keys revoke ID` ends one.
    """
    found = run(_load(target(data_dir, config, nats)))
    if not found:
        out.print("There are no API keys: a gateway on loopback is open, any other refuses everybody.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("id", "name", "scopes", "of", "expires"):
        table.add_column(column)
    for key in sorted(found, key=lambda key: key.name):
        table.add_row(key.key_id, escape(key.name), " ".join(key.scopes), escape(key.subscriber_id), _until(key))
    out.print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `tocsin keys list` shows it.")],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
) -> None:
    """Revoke an API key: it stops working at once, in every gateway.

    Example: `tocsin keys revoke 3f9a0c1d2e4b`

    What happens next: requests with its token get 401. A revoked key cannot be brought back.
    """
    run(_revoke(target(data_dir, config, nats), key_id))
    out.print(f"Revoked {escape(key_id)}.")


def _new(name: str, scopes: Sequence[str], subscriber_id: str, expires_ms: int | None) -> tuple[str, ApiKey]:
    if unknown := set(scopes) - set(SCOPES):
        raise UsageError(f"--scope {sorted(unknown)[0]!r} is none of {', '.join(SCOPES)}.")
    try:
        return new_key(name, expires_ms=expires_ms, scopes=cast("Sequence[Scope]", scopes), subscriber_id=subscriber_id)
    except ValueError as error:
        raise UsageError(f"{error}; `--subscriber ID` says whose.") from error


async def _store(where: Target, key: ApiKey) -> None:
    async with bus_for(where, "keys create") as bus:
        try:
            await bus.bucket(API_KEYS).create(encode_token(key.key_id), documents.encode(key))
        except Conflict as error:
            raise UsageError(f"The key id {key.key_id} is taken; run the command again for another.") from error


async def _load(where: Target) -> list[ApiKey]:
    async with bus_for(where, "keys list") as bus:
        entries = await bus.bucket(API_KEYS).all()
    found = []
    for entry in entries.values():
        try:
            found.append(decode(entry.value or b"", ApiKey))
        except Malformed as error:
            err.print(f"[yellow]key {escape(entry.key)} is not readable and does not work:[/] {escape(str(error))}")
    return found


async def _revoke(where: Target, key_id: str) -> None:
    async with bus_for(where, "keys revoke") as bus:
        bucket = bus.bucket(API_KEYS)
        if not key_id or await bucket.get(encode_token(key_id)) is None:
            raise UsageError(f"There is no API key {key_id!r}; `tocsin keys list` shows those there are.")
        await bucket.delete(encode_token(key_id))


def _until(key: ApiKey) -> str:
    if key.expires_ms is None:
        return "never expires"
    when = datetime.fromtimestamp(key.expires_ms / 1000, UTC).strftime("%Y-%m-%d")
    return f"expired on {when}" if key.expires_ms <= time.time_ns() // 1_000_000 else f"until {when}"
