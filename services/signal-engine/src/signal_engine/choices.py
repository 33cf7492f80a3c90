"""Which strategies are to run, and what is wrong with the choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from signal_engine.limited import TooSlow, limited
from signal_engine.prepared import prepare
from signal_engine.strategies import STRATEGIES, AnyStrategy, build
from signal_engine.strategies.loading import LOAD_S, Kind, catalogue
from tocsin_common.config import Section

Timeframe = Literal["1m", "5m", "15m", "1h", "4h", "1d"]

Problem = tuple[int | None, str]
"""Which entry of a list is wrong (None: the list), and a sentence that says why."""


class StrategyChoice(Section):
    """One strategy to run; `params` not given have the strategy's defaults."""

    name: str = Field(
        description=f"One of {', '.join(sorted(STRATEGIES))}, or one that was installed or is in the folder."
    )
    instance: str | None = Field(
        default=None,
        alias="as",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description="The name it runs under, where variants run side by side. Default: its own.",
    )
    params: dict[str, Any] = Field(default={}, description="The strategy's parameters; its file documents them.")
    timeframes: list[Timeframe] = Field(
        default=[], description="Which of the section's timeframes it looks at. Default: all it is made for."
    )

    def build(self, kinds: Mapping[str, Kind]) -> AnyStrategy:
        """The strategy itself. Raises ValueError naming everything that is wrong with the parameters."""
        strategy = build(self.name, self.params, instance=self.instance, timeframes=self.timeframes, kinds=kinds)
        made_for = type(strategy).timeframes
        if made_for and (foreign := [one for one in self.timeframes if one not in made_for]):
            raise ValueError(f"{self.name} is made for {', '.join(made_for)}, not for {', '.join(foreign)}")
        return strategy


def problems_of(choices: Sequence[StrategyChoice], others: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the strategies, beside fields (folder, timeframes) that may themselves be wrong: absent."""
    found = catalogue(others.get("strategies_folder"))
    yield from ((None, problem) for problem in found.problems)
    complete = "strategies_folder" in others and not found.problems
    built: list[AnyStrategy] = []
    taken: set[str] = set()
    for place, choice in enumerate(choices):
        if choice.name not in found.kinds and not complete:
            continue  # it may be in what could not be read
        unseen = sorted(set(choice.timeframes) - set(others.get("timeframes", choice.timeframes)))
        if unseen:
            yield place, f"{', '.join(unseen)}: not among the timeframes of the section"
        name = choice.instance or choice.name
        if name in taken:
            yield place, f"another strategy runs under the name {name!r}; give each its own with `as`"
        taken.add(name)
        try:
            with limited(LOAD_S):
                built.append(choice.build(found.kinds))
        except (Exception, TooSlow) as error:  # other people's code
            yield place, str(error)
    yield from _together(built)


def _together(built: Sequence[AnyStrategy]) -> Iterator[Problem]:
    """What only shows when expressions are made: of each strategy, and of all beside each other."""
    alone = []
    for strategy in built:
        try:
            with limited(LOAD_S):
                prepare([strategy])
            alone.append(strategy)
        except (Exception, TooSlow) as error:
            yield None, str(error)
    try:
        prepare(alone)
    except ValueError as error:
        yield None, str(error)
