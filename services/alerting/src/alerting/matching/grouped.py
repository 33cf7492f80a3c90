"""Rules by what they watch, each group put in order when it is asked for after it changed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from tocsin_common.documents import Rule

K = TypeVar("K", bound=Hashable)
R = TypeVar("R", bound=Rule)
S = TypeVar("S")


class Grouped(Generic[K, R, S]):
    """`watched` names the group of a rule, `in_order` makes of a group what it is asked for."""

    def __init__(self, watched: Callable[[R], K], in_order: Callable[[Iterable[R]], S]) -> None:
        self._watched = watched
        self._in_order = in_order
        self._groups: dict[K, dict[str, R]] = {}
        self._ready: dict[K, S] = {}

    def put(self, rule: R) -> None:
        key = self._watched(rule)
        self._groups.setdefault(key, {})[rule.rule_id] = rule
        self._ready.pop(key, None)

    def drop(self, rule: R) -> None:
        key = self._watched(rule)
        self._groups[key].pop(rule.rule_id)
        self._ready.pop(key, None)
        if not self._groups[key]:
            del self._groups[key]

    def get(self, key: K) -> S | None:
        """What is made of a group; None where nothing is watched."""
        if key not in self._groups:
            return None
        if key not in self._ready:
            self._ready[key] = self._in_order(self._groups[key].values())
        return self._ready[key]
