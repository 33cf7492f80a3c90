"""What an invariant is, and what checking one gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from tocsin_common.streams import Stream

MAX_EXAMPLES = 10
"""Findings kept per invariant; the rest are only counted."""

E = TypeVar("E")

Verdict = Literal["holds", "violated", "not checkable"]


@dataclass(frozen=True)
class Invariant(Generic[E]):
    """One thing that must hold. `check` yields a sentence per violation; its docstring says what must hold.

    `needs` are the streams that must be complete: once retention removed their beginning, nothing can be said.
    """

    area: str
    check: Callable[[E], Iterable[str]]
    needs: tuple[Stream, ...] = ()

    @property
    def name(self) -> str:
        return self.check.__name__.replace("_", " ")

    @property
    def says(self) -> str:
        return " ".join((self.check.__doc__ or "").split())


@dataclass(frozen=True)
class Result:
    """The verdict on one invariant, with the first violations as examples."""

    area: str
    name: str
    says: str
    verdict: Verdict
    violations: int = 0
    examples: tuple[str, ...] = ()


def check(invariant: Invariant[E], evidence: E, trimmed: frozenset[str]) -> Result:
    """Check one invariant. `trimmed` names the streams whose beginning is gone."""
    incomplete = [stream.name for stream in invariant.needs if stream.name in trimmed]
    if incomplete:
        why = f"retention removed the beginning of {', '.join(incomplete)}"
        return Result(invariant.area, invariant.name, invariant.says, "not checkable", examples=(why,))
    count = 0
    examples: list[str] = []
    for finding in invariant.check(evidence):
        count += 1
        if len(examples) < MAX_EXAMPLES:
            examples.append(finding)
    verdict: Verdict = "violated" if count else "holds"
    return Result(invariant.area, invariant.name, invariant.says, verdict, count, tuple(examples))
