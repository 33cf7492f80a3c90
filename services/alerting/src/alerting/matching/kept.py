"""What is remembered from batch to batch, and can be taken back to before the batch in hand: one that could not be
published is handled again."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by key: settled up to the batch in hand, and as that batch leaves them."""

    def __init__(self) -> None:
        self.settled: dict[K, V] = {}
        self._changed: dict[K, V | None] = {}

    def get(self, key: K) -> V | None:
        return self._changed[key] if key in self._changed else self.settled.get(key)

    def put(self, key: K, value: V | None) -> None:
        """None: there is nothing to remember any more."""
        self._changed[key] = value

    def settle(self) -> None:
        """The batch in hand is published: what it changed stays."""
        for key, value in self._changed.items():
            if value is None:
                self.settled.pop(key, None)
            else:
                self.settled[key] = value
        self._changed.clear()

    def revert(self) -> None:
        """The batch in hand comes again: forget what it changed."""
        self._changed.clear()
