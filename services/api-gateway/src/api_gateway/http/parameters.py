"""The query parameters of every endpoint. Unknown ones are refused: a misspelt filter would silently not filter.

Endpoints call `parse` themselves: FastAPI's own way of filling a parameter model takes longer than all the rest of a
request, the database aside.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from api_gateway.http.problems import wrong_parameter
from api_gateway.reports.queries import Filter
from api_gateway.reports.report import Question
from api_gateway.reports.summary import Judgement
from api_gateway.reports.windows import WEEK, Window, later
from api_gateway.store import Order
from tocsin_common.events import ChannelName, DeliveryState, Side
from tocsin_common.report import HoursOf

REPORT_MAX_MS = 400 * 86_400_000
"""A year and a month: what a report reads must be counted while somebody waits."""

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain the character NUL")
    return value


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be the name of a time zone, such as Asia/Jakarta") from None
    return value


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable)]
Millis = Annotated[int, Field(ge=0, le=2**62)]
ReportMillis = Annotated[int, Field(ge=0, le=4_102_444_800_000)]
"""Up to the year 2100: it is looked up in a calendar."""

Zone = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_known_zone)]
Timeframe = Literal["1s", "1m", "5m", "15m", "1h", "4h", "1d"]
_RESULT = r"target_[1-9][0-9]{0,2}|stop|expired|invalidated"
Result = Annotated[str, Field(pattern=rf"^({_RESULT})$", examples=["target_1"])]
State = Annotated[str, Field(pattern=rf"^(active|ended|{_RESULT})$", examples=["active"])]


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


P = TypeVar("P", bound=Parameters)


def parse(kind: type[P], request: Request) -> P:
    """The parameters of a request. Raises a 422 problem that names every wrong one."""
    try:
        return kind.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise RequestValidationError([item | {"loc": ("query", *item["loc"])} for item in error.errors()]) from error


def described(kind: type[Parameters]) -> dict[str, Any]:
    """The parameters as the OpenAPI document lists them."""
    properties = kind.model_json_schema()["properties"]
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.get("description", "")}
        for name, schema in properties.items()
    ]
    return {"parameters": parameters}


class PageQuery(Parameters):
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Most items in the answer.")
    cursor: str | None = Field(default=None, max_length=1000, description="`next_cursor` of the page before.")
    order: Order = Field(default="desc", description="Newest (or last) first, or oldest first.")

    def filters(self) -> dict[str, Any]:
        """The parameters that filter, under the names listings know."""
        return self.model_dump(exclude={"limit", "cursor", "order"})


class TimeRange(Parameters):
    from_ms: Millis | None = Field(default=None, description="From this time on, milliseconds UTC.")
    to_ms: Millis | None = Field(default=None, description="Before this time, milliseconds UTC.")


class MarketFilter(TimeRange):
    exchange: Text | None = Field(default=None, description="ccxt id of the exchange.", examples=["binance"])
    symbol: Text | None = Field(default=None, description="Unified symbol.", examples=["BTC/USDT"])


class CandleQuery(PageQuery, MarketFilter):
    timeframe: Timeframe | None = Field(default=None, description="Length of the candles.")


class SignalQuery(PageQuery, MarketFilter):
    timeframe: Timeframe | None = Field(default=None, description="Timeframe of the strategy.")
    strategy: Text | None = Field(default=None, description="Name of the strategy.")
    side: Side | None = None
    min_confidence: int | None = Field(default=None, ge=0, le=100, description="Least confidence.")
    state: State | None = Field(
        default=None, description="`active`, `ended`, or one result: `target_1`, `stop`, `expired`, `invalidated`."
    )

    def filters(self) -> dict[str, Any]:
        """`state` is two questions: whether the signal has ended, and how."""
        found = super().filters()
        state = found.pop("state")
        if state in ("active", "ended"):
            return found | {"ended": state == "ended"}
        return found | {"result": state}


class OutcomeQuery(PageQuery, MarketFilter):
    timeframe: Timeframe | None = None
    strategy: Text | None = None
    side: Side | None = None
    result: Result | None = Field(default=None, description="`target_1`, `stop`, `expired`, `invalidated`.")


class AlertQuery(PageQuery, MarketFilter):
    decision: Literal["raised", "suppressed"] | None = Field(default=None, description="Raised, or spared somebody.")
    rule_id: Text | None = None
    alert_id: Text | None = Field(default=None, description="The alert that was raised, or suppressed.")
    cause_id: Text | None = Field(default=None, description="The signal, or the trade that crossed a level.")
    reason: Text | None = Field(default=None, description="Why an alert was suppressed.")


class DeliveryQuery(PageQuery, TimeRange):
    alert_id: Text | None = None
    subscriber_id: Text | None = None
    channel: ChannelName | None = None
    state: DeliveryState | None = Field(default=None, description="The present state.")


class FillQuery(PageQuery, MarketFilter):
    position_id: Text | None = None
    signal_id: Text | None = None


class PositionQuery(PageQuery, MarketFilter):
    state: Literal["open", "closed"] | None = None


class EquityQuery(PageQuery, TimeRange):
    pass


class StatsQuery(MarketFilter):
    pass


class ReportQuery(MarketFilter):
    """Without a range: the seven days up to now, by the clock of `zone`."""

    from_ms: ReportMillis | None = Field(default=None, description="From this time on; else seven days before `to_ms`.")
    to_ms: ReportMillis | None = Field(default=None, description="Before this time; else now. At most 400 days.")
    zone: Zone = Field(default="UTC", description="IANA time zone, for hours and days.", examples=["Asia/Jakarta"])
    hours: HoursOf = Field(default="day", description="Hours of the `day` (24) or of the `week` (168).")
    strategy: Text | None = Field(default=None, description="Only signals of this strategy.")
    timeframe: Timeframe | None = Field(default=None, description="Only signals on this timeframe.")
    min_count: int = Field(default=10, ge=1, le=10_000, description="Groups with fewer outcomes are not compared.")
    top: int = Field(default=5, ge=1, le=100, description="Most groups in each list.")

    def question(self, *, now_ms: int) -> Question:
        """What is asked for, with what was left out."""
        zone = ZoneInfo(self.zone)
        to_ms = now_ms if self.to_ms is None else self.to_ms
        window = Window(later(to_ms, zone, -WEEK) if self.from_ms is None else self.from_ms, to_ms)
        if not 0 < window.length_ms <= REPORT_MAX_MS:
            raise wrong_parameter("from_ms", "must be before `to_ms`, by 400 days at most")
        only = Filter(self.exchange, self.symbol, self.strategy, self.timeframe)
        return Question(window, zone, self.hours, only, Judgement(self.min_count, self.top))


class LiveQuery(Parameters):
    types: str | None = Field(
        default=None, max_length=100, description="Comma-separated: signals, outcomes, alerts, fills, deliveries."
    )
    exchange: Text | None = Field(default=None, description="Only events of this exchange.")
    symbol: Text | None = Field(
        default=None, description="Only events of this symbol; deliveries and suppressions name none and are left out."
    )
