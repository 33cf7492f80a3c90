"""Columns of events that are only going to be published: they become JSON without a Python object per value.

A packed column reads like the list it stands for, so an event made of such columns equals the one that is decoded
from the stream. Only the encoder knows the difference: it writes them in a third of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self, TypeVar, overload

import numpy as np
import orjson
from numpy.typing import NDArray

T = TypeVar("T")


class Packed(Sequence[T]):
    """int64 or finite float64 values, one after the other in memory."""

    __slots__ = ("values",)

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> T | Self:
        return type(self)(self.values[at]) if isinstance(at, slice) else self._value(self.values[at])

    def __iter__(self) -> Iterator[T]:
        return iter(self.values.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __repr__(self) -> str:
        return repr(list(self))

    def json(self) -> bytes:
        """The text that a list of these values becomes."""
        text = orjson.dumps(self.values, option=orjson.OPT_SERIALIZE_NUMPY)
        return text.replace(b"e+", b"e") if b"e" in text else text

    def _value(self, number: Any) -> T:
        value: T = number.item()
        return value


class PackedIds(Packed[str | None]):
    """Ids that are whole numbers, kept as int64: they read, and are written, as the text they are."""

    __slots__ = ("_json",)

    def __init__(self, values: NDArray[np.int64]) -> None:
        super().__init__(values)
        self._json = b""

    def __iter__(self) -> Iterator[str | None]:
        return map(str, self.values.tolist())

    def json(self) -> bytes:
        if not self._json:  # asked for twice: by the id of the event, and by its encoder
            numbers = super().json()
            self._json = b'["' + numbers[1:-1].replace(b",", b'","') + b'"]' if len(self.values) else numbers
        return self._json

    def _value(self, number: Any) -> str | None:
        return str(number)


def largest(column: Sequence[int]) -> int:
    """The largest value of a column, packed or not."""
    return int(column.values.max()) if isinstance(column, Packed) else max(column)
