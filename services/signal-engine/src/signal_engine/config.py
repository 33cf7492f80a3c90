"""Settings of the signal-engine: the section `signal_engine` beside the common ones."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from signal_engine.strategies import STRATEGIES, AnyStrategy, build
from tocsin_common.config import CommonSettings, Section

Timeframe = Literal["1m", "5m", "15m", "1h", "4h", "1d"]


class StrategyChoice(Section):
    """One strategy to run; `params` not given have the strategy's defaults."""

    name: str = Field(description=f"One of {', '.join(sorted(STRATEGIES))}.")
    params: dict[str, Any] = Field(default={}, description="The strategy's parameters; its file documents them.")

    @model_validator(mode="after")
    def _buildable(self) -> StrategyChoice:
        self.build()
        return self

    def build(self) -> AnyStrategy:
        """The strategy itself. Raises ValueError naming everything that is wrong with the parameters."""
        return build(self.name, self.params)


class SignalEngineSection(Section):
    strategies: list[StrategyChoice] = Field(
        default=[StrategyChoice(name=name) for name in STRATEGIES],
        min_length=1,
        description="The strategies to run; one may appear several times with different parameters.",
    )
    timeframes: list[Timeframe] = Field(
        default=["5m", "15m", "1h", "4h"], min_length=1, description="The timeframes every strategy looks at."
    )

    @field_validator("strategies")
    @classmethod
    def _distinct(cls, choices: list[StrategyChoice]) -> list[StrategyChoice]:
        built = [(strategy.name, strategy.params_hash) for strategy in (choice.build() for choice in choices)]
        if len(set(built)) != len(built):
            raise ValueError("the same strategy with the same parameters is listed twice")
        return choices


class Settings(CommonSettings):
    signal_engine: SignalEngineSection = SignalEngineSection()
