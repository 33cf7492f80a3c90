"""`tocsin alerts rules` and `tocsin alerts subscribers`: list, show, put and delete documents."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import yaml
from rich.markup import escape

from tocsin.commands.alerts.asking import ACTOR, ask, every, one, revision_of
from tocsin.commands.alerts.tables import show, table_of
from tocsin.console import UsageError, out, run, told
from tocsin.options import DEFAULT_DATA_DIR, ConfigOption, DataDirOption, NatsOption, Target, target
from tocsin.servers import bus_for
from tocsin_common.events import DocumentKind
from tocsin_common.requests import management as asked
from tocsin_common.requests.management import Shown

MAX_FILE_BYTES = 16 * 1024 * 1024

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id, as `list` shows it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead, for programs.")]
RevisionOption = Annotated[
    int | None, typer.Option(min=1, help="Only if this is still its revision; otherwise whatever is there now.")
]


def commands(kind: DocumentKind, group: str) -> typer.Typer:
    """The commands of one kind of documents."""
    app = typer.Typer(no_args_is_help=True, help=f"List, show, write and delete {group}.")
    app.command("list", help=LIST.format(group=group))(_listing(kind))
    app.command("show", help=SHOW.format(kind=kind, group=group))(_showing(kind))
    app.command("put", help=PUT.format(kind=kind, group=group, example=EXAMPLES[kind]))(_putting(kind))
    app.command("delete", help=DELETE.format(kind=kind, group=group))(_deleting(kind))
    return app


LIST = """List the {group} that are in force.

Example: `tocsin alerts {group} list`

What happens next: nothing is changed. `--json` gives whole documents, addresses left out."""

SHOW = """Show one {kind} as YAML, as `put` takes it. Addresses are not shown: a destination keeps the one it has.

Example: `tocsin alerts {group} show ID > mine.yaml`

What happens next: nothing is changed. Edit the file and write it back with `tocsin alerts {group} put mine.yaml`."""

PUT = """Write one {kind}, or a list of them, from a YAML or JSON file (`-`: from standard input).

{example}

Example: `tocsin alerts {group} put mine.yaml`

What happens next: it is in force at once, and MANAGEMENT says who wrote it. A rule that is written again starts anew.
Exit code 2: a document is wrong; the field is named, and the documents before it are written."""

DELETE = """Delete one {kind}.

Example: `tocsin alerts {group} delete ID`

What happens next: it is out of force at once. What was sent, and why, stays on record."""

EXAMPLES = {
    "rule": "A rule: `{kind: price, rule_id: high, name: High, subscribers: [me], exchange: binance, "
    "symbol: BTC/USDT, level: 100000}`",
    "subscriber": 'A subscriber: `{subscriber_id: me, name: Me, destinations: [{channel: telegram, address: "4242"}]}`',
    "silence": "",
}


def _listing(kind: DocumentKind) -> Any:
    def list_documents(
        json: JsonOption = False,
        data_dir: DataDirOption = DEFAULT_DATA_DIR,
        config: ConfigOption = None,
        nats: NatsOption = None,
    ) -> None:
        found = run(_all(target(data_dir, config, nats), kind))
        if json:
            print_json(found)
        elif found:
            show(table_of(kind, found))
        else:
            out.print(f"There are no {kind}s; `put` writes one.")

    return list_documents


def _showing(kind: DocumentKind) -> Any:
    def show_document(
        document_id: IdArgument,
        json: JsonOption = False,
        data_dir: DataDirOption = DEFAULT_DATA_DIR,
        config: ConfigOption = None,
        nats: NatsOption = None,
    ) -> None:
        found = run(_one(target(data_dir, config, nats), kind, document_id))
        if json:
            print_json(found)
        else:
            print(f"# revision {found.revision}")
            print(yaml.safe_dump(found.document, sort_keys=False, allow_unicode=True), end="")

    return show_document


def _putting(kind: DocumentKind) -> Any:
    def put(
        file: Annotated[Path, typer.Argument(help="YAML or JSON; `-` for standard input.")],
        revision: RevisionOption = None,
        data_dir: DataDirOption = DEFAULT_DATA_DIR,
        config: ConfigOption = None,
        nats: NatsOption = None,
    ) -> None:
        with told():
            documents = read(file, kind)
            if revision is not None and len(documents) > 1:
                raise UsageError("--revision is of one document, and the file has several.")
        for written in run(_write(target(data_dir, config, nats), kind, documents, revision)):
            out.print(f"wrote the {kind} {escape(written.id)}, now at revision {written.revision}")

    return put


def _deleting(kind: DocumentKind) -> Any:
    def delete(
        document_id: IdArgument,
        revision: RevisionOption = None,
        data_dir: DataDirOption = DEFAULT_DATA_DIR,
        config: ConfigOption = None,
        nats: NatsOption = None,
    ) -> None:
        run(_delete(target(data_dir, config, nats), kind, document_id, revision))
        out.print(f"deleted the {kind} {escape(document_id)}")

    return delete


def read(file: Path, kind: DocumentKind) -> list[tuple[str, dict[str, Any]]]:
    """The documents of a file, each with its id. Raises UsageError."""
    try:
        text = sys.stdin.read(MAX_FILE_BYTES) if str(file) == "-" else file.read_text("utf-8")
        found = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{file} is no YAML: {error}") from error
    documents = found if isinstance(found, list) else [found]
    name = f"{kind}_id"
    for number, document in enumerate(documents, 1):
        if not isinstance(document, dict) or not isinstance(document.get(name), str):
            raise UsageError(f"{file}, document {number}: not a mapping with a `{name}`, which names the {kind}.")
    return [(document[name], document) for document in documents]


def print_json(found: Shown | Sequence[Shown]) -> None:
    """For programs, on one line."""
    print(msgspec.json.encode(found).decode())


async def _all(where: Target, kind: DocumentKind) -> list[Shown]:
    async with bus_for(where, "alerts list") as bus:
        return [shown async for shown in every(bus, kind)]


async def _one(where: Target, kind: DocumentKind, document_id: str) -> Shown:
    async with bus_for(where, "alerts show") as bus:
        return await one(bus, kind, document_id)


async def _write(
    where: Target, kind: DocumentKind, documents: list[tuple[str, dict[str, Any]]], revision: int | None
) -> list[Shown]:
    written = []
    async with bus_for(where, "alerts put") as bus:
        for document_id, document in documents:
            replaced = await revision_of(bus, kind, document_id) if revision is None else revision
            question = asked.PutRequest(actor=ACTOR, kind=kind, id=document_id, document=document, revision=replaced)
            written.append(await ask(bus, asked.PUT, question))
    return written


async def _delete(where: Target, kind: DocumentKind, document_id: str, revision: int | None) -> None:
    async with bus_for(where, "alerts delete") as bus:
        replaced = (await one(bus, kind, document_id)).revision if revision is None else revision
        await ask(bus, asked.DELETE, asked.DeleteRequest(actor=ACTOR, kind=kind, id=document_id, revision=replaced))
