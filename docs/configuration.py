"""Write docs/configuration.md from the settings of the services and the command.

    python docs/configuration.py

A test compares the file with what this would write, so it cannot go stale.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from tocsin_common.documents import (
    Destination,
    FeedRule,
    Hours,
    IndicatorRule,
    MoveRule,
    OutcomeRule,
    PaperRule,
    Portfolio,
    PriceRule,
    Rule,
    SignalRule,
    Silence,
    Subscriber,
    SystemRule,
    VolumeRule,
)

Row = tuple[str, str, str, str]
Below = tuple[str, str, type[BaseModel]]
"""Title, path and model of a table that is still to come."""

PAGE = Path(__file__).with_suffix(".md")
MODULES = ("market_ingest", "signal_engine", "alerting", "paper_trader", "api_gateway")
COMMON = ("nats", "log", "health")
DOCUMENT_KINDS: tuple[tuple[str, type[msgspec.Struct]], ...] = (
    ("Every one of `alert_rules`", Rule),
    ("One with `kind: signal`", SignalRule),
    ("One with `kind: outcome`", OutcomeRule),
    ("One with `kind: feed`", FeedRule),
    ("One with `kind: price`", PriceRule),
    ("One with `kind: move`", MoveRule),
    ("One with `kind: volume`", VolumeRule),
    ("One with `kind: indicator`", IndicatorRule),
    ("One with `kind: paper`", PaperRule),
    ("One with `kind: system`", SystemRule),
    ("The `active_hours` of a rule, or the `quiet_hours` of a subscriber", Hours),
    ("One of `subscribers`", Subscriber),
    ("One of a subscriber's `destinations`", Destination),
    ("One of `silences`", Silence),
    ("One of `portfolios`", Portfolio),
)

INTRODUCTION = """\
# Configuration

<!-- Written by docs/configuration.py from the settings themselves: change those, not this page. -->

One YAML file configures everything. Its path is in `TOCSIN_CONFIG`; the `tocsin` command also takes `--config`. Every
service reads the common sections and its own, and ignores the others, so all may share one file.

- **Environment.** `TOCSIN__SECTION__KEY` overrides a key: `TOCSIN__NATS__URL=nats://10.0.0.5:4222`. Values are read as
  YAML, so numbers and lists work: `TOCSIN__SIGNAL_ENGINE__TIMEFRAMES='[1h, 4h]'`.
- **Secrets.** A key marked *secret* can be given as `<key>_file`, the path of a file that holds it:
  `TOCSIN__POSTGRES__URL_FILE=/run/secrets/postgres_url`. Secrets are never logged.
- **Mistakes.** Unknown keys and wrong values are refused at the start, all of them at once, and the service ends with
  exit code 2. `tocsin doctor` checks a file without starting anything.

People's settings (rules, subscribers, portfolios) are not configuration but documents in key-value buckets. The section
`seed` puts the first ones there; [below](#documents) is what is in them.
"""

DOCUMENTS = """\
## Documents

What `seed` holds and the buckets keep, as JSON under the document's own id. Unknown keys are refused.
"""


def page() -> str:
    """The whole page as Markdown."""
    from tocsin.settings import Settings as CommandSettings

    parts = [INTRODUCTION]
    parts += [section(name, model_of(CommandSettings.model_fields[name])) for name in (*COMMON, "postgres", "seed")]
    for module in MODULES:
        settings = importlib.import_module(f"{module}.config").Settings
        parts.append(section(module, model_of(settings.model_fields[module])))
    parts += [DOCUMENTS, *(document(*entry) for entry in DOCUMENT_KINDS)]
    return "\n".join(parts)


def section(name: str, model: type[BaseModel]) -> str:
    """One section: what it is and a table of its keys, then a table for every kind of mapping below it."""
    below: list[Below] = [(f"## `{name}`", name, model)]
    parts = []
    while below:
        title, path, current = below.pop(0)
        found = list(rows(current, path, "", below))
        text = described(current)
        parts += [title, "", *([text, ""] if text else []), *table(found), ""]
    return "\n".join(parts)


def document(title: str, struct: type[msgspec.Struct]) -> str:
    """One document type: what it is, and a table of its keys; of a rule, of those that not every rule has."""
    lines = [f"### {title}", "", described(struct), "", "| key | type | default |", "| --- | --- | --- |"]
    common = set(Rule.__struct_fields__) if struct is not Rule and issubclass(struct, Rule) else set()
    for field in msgspec.structs.fields(struct):
        if field.name in common:
            continue
        value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        shown = "required" if value is msgspec.NODEFAULT else "" if value is None else listed(value)
        lines.append(f"| `{field.name}` | {spelled(field.type)} | {shown} |")
    return "\n".join([*lines, ""])


def rows(model: type[BaseModel], path: str, prefix: str, below: list[Below]) -> Iterator[Row]:
    """Key, type, default and description of every key of a model. A section inside it is laid out in the same table;
    mappings inside a list, a mapping or an alternative are added to `below`, for tables of their own."""
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        if [field.annotation] == inner:
            yield from rows(inner[0], path, f"{prefix}{name}.", below)
            continue
        written = field.alias or name
        key = f"{path}.{prefix}{written}"
        for kind_of in inner:
            tag = kind_of.model_fields.get("kind")
            title = f"### `{key}` of kind `{spelled_tag(tag)}`" if tag else f"### Each of `{key}`"
            below.append((title, key, kind_of))
        yield f"`{prefix}{written}`", kind(field), default(field), field.description or ""


def table(found: list[Row]) -> list[str]:
    head = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    escaped = ([cell.replace("|", r"\|") for cell in row] for row in found)
    return head + [f"| {' | '.join(cells)} |" for cells in escaped]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The settings models inside a type, also inside lists, mappings and unions, in order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def model_of(field: FieldInfo) -> type[BaseModel]:
    [model] = models_in(field.annotation)
    return model


def spelled_tag(field: FieldInfo) -> str:
    return str(get_args(field.annotation)[0])


def kind(field: FieldInfo) -> str:
    """The type in words, with its bounds."""
    bounds = [f"{sign} {value:g}" for sign, value in limits(field)]
    return ", ".join([spelled(field.annotation), *bounds])


def limits(field: FieldInfo) -> Iterator[tuple[str, float]]:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    for item in field.metadata:
        yield from ((sign, getattr(item, name)) for name, sign in signs.items() if hasattr(item, name))


def spelled(annotation: Any) -> str:
    words: dict[Any, str] = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "yes or no",
        Decimal: "decimal number",
        Path: "path",
        SecretStr: "secret",
    }
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(spelled(item) for item in arguments if item is not type(None)))
    if origin is list:
        return f"list of {spelled(arguments[0])}"
    if origin is dict:
        return f"mapping to {spelled(arguments[1])}" if models_in(arguments[1]) else "mapping"
    if hasattr(annotation, "__metadata__"):
        return spelled(arguments[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel | msgspec.Struct):
        return "mappings"
    return words.get(annotation, str(annotation))


def default(field: FieldInfo) -> str:
    """The default as it would be written in YAML."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "" if value is None else listed(value)


def listed(value: Any) -> str:
    if isinstance(value, list):
        return f"`[{', '.join(plain(item) for item in value)}]`"
    return f"`{plain(value)}`"


def plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        keys = {*value.model_fields_set, "kind"} & set(type(value).model_fields)
        set_keys = value.model_dump(include=keys, mode="json")
        return "{" + ", ".join(f"{key}: {item}" for key, item in set_keys.items()) + "}"
    return str(value) if value != "" else '""'


def described(model: type) -> str:
    """The model's own docstring, not one it inherited."""
    text = vars(model).get("__doc__")
    return " ".join(text.split()) if text else ""


def main() -> int:
    PAGE.write_text(page())
    print(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
