"""Settings of the signal-engine: the section `signal_engine` beside the common ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from signal_engine.choices import Problem, StrategyChoice, Timeframe, problems_of
from signal_engine.pace import SLOW_ROUND_S
from signal_engine.readings import Readings
from signal_engine.risk import Sizing
from signal_engine.strategies import BY_DEFAULT, AnyStrategy
from signal_engine.strategies.loading import Kind, catalogue
from tocsin_common.config import CommonSettings, Section
from tocsin_common.partitions.sharing import parse_ranges

DEFAULT = Sizing()


class RiskSection(Section):
    """Whose money the suggested sizes are for: one stop may cost `risk_percent` of `equity`."""

    equity: float = Field(default=DEFAULT.equity, gt=0, description="In the quote currency.")
    risk_percent: float = Field(default=DEFAULT.risk_percent, gt=0, le=100, description="Of the equity, per signal.")
    leverage_max: float = Field(
        default=DEFAULT.leverage_max, ge=1, le=125, description="No signal suggests more, however near its stop is."
    )

    def sizing(self) -> Sizing:
        """The same as the engine takes it."""
        return Sizing(self.equity, self.risk_percent, self.leverage_max)


class SignalEngineSection(Section):
    strategies_folder: Path | None = Field(
        default=None, description="Folder of Python files with strategies of your own, to be named in `strategies`."
    )
    timeframes: list[Timeframe] = Field(
        default=["5m", "15m", "1h", "4h"], min_length=1, description="The timeframes every strategy looks at."
    )
    strategies: list[StrategyChoice] = Field(
        default=[StrategyChoice(name=name) for name in BY_DEFAULT],
        min_length=1,
        validate_default=True,
        description="The strategies to run; one may run several times under different names.",
    )
    risk: RiskSection = RiskSection()
    indicators: list[str] = Field(
        default=[],
        description="Columns (`rsi_14`, `ema_200`) published of every candle of the timeframes, for rules that look at"
        " them. A long memory makes every window as long.",
    )
    strategy_budget_s: float = Field(
        default=10.0, gt=0, description="Seconds that a strategy's own code may take in a round before it is off."
    )
    slow_round_s: float = Field(
        default=SLOW_ROUND_S,
        gt=0,
        description="Seconds of waiting and evaluating after which a live round is announced.",
    )
    partitions: str = Field(
        default="all",
        description="Which of the 64 partitions this replica may evaluate: `all`, or ranges such as `0-31`. Replicas "
        "share what they may hold evenly, and take over from one that is gone.",
    )

    @field_validator("strategies_folder")
    @classmethod
    def _there(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.is_dir():
            raise ValueError("there is no such folder")
        return folder

    @field_validator("partitions")
    @classmethod
    def _are_partitions(cls, partitions: str) -> str:
        parse_ranges(partitions)
        return partitions

    @field_validator("strategies")
    @classmethod
    def _usable(cls, choices: list[StrategyChoice], info: ValidationInfo) -> list[StrategyChoice]:
        _raise(problems_of(choices, info.data))
        return choices

    @field_validator("indicators")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        _raise(_unknown(names))
        return names

    def kinds(self) -> Mapping[str, Kind]:
        """Every strategy there is to choose from, by name."""
        return catalogue(self.strategies_folder).kinds

    def build(self) -> list[AnyStrategy]:
        """The strategies to run."""
        kinds = self.kinds()
        return [choice.build(kinds) for choice in self.strategies]


class Settings(CommonSettings):
    signal_engine: SignalEngineSection = Field(default={}, validate_default=True)


def _unknown(names: Sequence[str]) -> Iterator[Problem]:
    for place, name in enumerate(names):
        try:
            Readings([name])
        except Exception as error:  # also what TA-Lib says of periods
            yield place, str(error)


def _raise(problems: Iterable[Problem]) -> None:
    """Tell all of them at once, each at its place."""
    lines = [
        InitErrorDetails(
            type=PydanticCustomError("unusable", "{problem}", {"problem": problem}),
            loc=() if place is None else (place,),
            input=None,
        )
        for place, problem in problems
    ]
    if lines:
        raise ValidationError.from_exception_data("signal_engine", lines)
