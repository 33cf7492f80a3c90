"""The query parameters of every endpoint. Unknown ones are refused: a misspelt filter would silently not filter.

Endpoints call `parse` themselves: FastAPI's own way of filling a parameter model takes longer than all the rest of a
request, the database aside.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from api_gateway.store import Order
from tocsin_common.events import ChannelName, DeliveryState, Side

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain the character NUL")
    return value


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable)]
Millis = Annotated[int, Field(ge=0, le=2**62)]
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


class LiveQuery(Parameters):
    types: str | None = Field(
        default=None, max_length=100, description="Comma-separated: signals, outcomes, alerts, fills, deliveries."
    )
    exchange: Text | None = Field(default=None, description="Only events of this exchange.")
    symbol: Text | None = Field(
        default=None, description="Only events of this symbol; deliveries and suppressions name none and are left out."
    )
