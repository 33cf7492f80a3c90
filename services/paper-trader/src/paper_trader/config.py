"""Settings of the paper-trader: the section `paper_trader` beside the common ones."""

from __future__ import annotations

from pydantic import Field

from tocsin_common.config import CommonSettings, Section


class PaperTraderSection(Section):
    snapshot_interval_s: float = Field(
        default=5.0, ge=0, le=600, description="Least time between two snapshots: what a crash makes us do again."
    )
    lateness_ms: int = Field(
        default=2_000,
        ge=0,
        le=60_000,
        description="How far the simulation runs behind the market's clock, so that late trades still count.",
    )


class Settings(CommonSettings):
    paper_trader: PaperTraderSection = PaperTraderSection()
