"""JSON of others as one of our types, or an error that says what is wrong, where, and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from tocsin_common.errors import Malformed

T = TypeVar("T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they should be: nested a thousand deep, too."""

_PLACE = re.compile(r"^Invalid .* - at `\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<at>\d+)\]")


def decode(data: bytes | str, kind: type[T], name: str = "") -> T:
    """Parse a value of the given type (or union); `name` is what people call it.

    Raises Malformed: which field is wrong, and what it may be.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except UNREADABLE as error:
        said = f"not a valid {name or getattr(kind, '__name__', 'document')}: {error}"
        allowed = _allowed(data, kind, str(error))
        raise Malformed(f"{said}; it may be {', '.join(allowed)}" if allowed else said) from error


def _allowed(data: bytes | str, kind: object, error: str) -> list[str]:
    """The values that are allowed where an error of msgspec found another one, if they can be listed."""
    found = _PLACE.match(error)
    if found is None or _STEP.sub("", found["path"]):
        return []
    try:
        value: Any = msgspec.json.decode(data)
    except UNREADABLE:  # something behind that place is worse
        return []
    types = list(_members(inspect.type_info(kind)))
    for step in _STEP.finditer(found["path"]):
        name = step["name"]
        if name is None:
            inside = [one.item_type for one in types if isinstance(one, inspect.ListType)]
            value = value[int(step["at"])] if isinstance(value, list) and int(step["at"]) < len(value) else None
        else:
            structs = [one for one in types if isinstance(one, inspect.StructType)]
            if any(one.tag_field == name for one in structs):
                return [str(one.tag) for one in structs]
            values = value if isinstance(value, dict) else {}
            meant = [one for one in structs if one.tag_field is None or values.get(one.tag_field) == one.tag]
            inside = [field.type for one in meant for field in one.fields if field.encode_name == name]
            value = values.get(name)
        types = [member for one in inside for member in _members(one)]
    return [str(choice) for one in types if isinstance(one, inspect.LiteralType) for choice in one.values]


def _members(kind: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.UnionType):
        for member in kind.types:
            yield from _members(member)
    elif isinstance(kind, inspect.Metadata):
        yield from _members(kind.type)
    else:
        yield kind
