"""The read API of the gateway, for the bot and reports: within a time, within a size, and never trusted to answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Generic, TypeVar

import aiohttp
import msgspec
import structlog

from alerting.config import ApiSection
from tocsin_common.decoding import decode
from tocsin_common.errors import Malformed, TocsinError
from tocsin_common.events import Side

log = structlog.get_logger()

ANSWER_BYTES_MAX = 1024 * 1024
TIMEOUT_S = 4.0
CONNECTIONS = 8

RESULT = "^(target_[1-9][0-9]{0,2}|stop|expired|invalidated)$"

T = TypeVar("T")


class Away(TocsinError):
    """The API does not answer as it should. `reason` is a metric label."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the HTTP API gave no answer: {reason}")


class Page(msgspec.Struct, Generic[T], frozen=True):
    items: list[T]


class Result(msgspec.Struct, frozen=True):
    """How a signal ended; `r_multiple` in multiples of its risk."""

    result: Annotated[str, msgspec.Meta(pattern=RESULT)]
    r_multiple: float
    ended_ms: int


class Signal(msgspec.Struct, frozen=True):
    signal_id: str
    strategy: str
    strategy_version: str
    params_hash: str
    exchange: str
    symbol: str
    timeframe: str
    candle_open_ms: int
    confirmed_ms: int
    side: Side
    confidence: int
    entry: float
    stop: float
    targets: list[float]
    expires_ms: int
    reasons: list[str]
    state: str
    outcome: Result | None


class Candle(msgspec.Struct, frozen=True):
    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Portfolio(msgspec.Struct, frozen=True):
    """Money as exact decimals in text."""

    portfolio: str
    currency: str
    initial_cash: str
    cash: str | None
    equity: str | None
    marked_ms: int | None


class Health(msgspec.Struct, frozen=True):
    status: str
    projector: str
    problems: dict[str, str]


class StreamPosition(msgspec.Struct, frozen=True):
    lag: int


class Counts(msgspec.Struct, frozen=True):
    streams: dict[str, StreamPosition]


class Gateway:
    """`url` is the API's own, without `/api/v1`; `key` a token with the scope `read`, "" for none."""

    def __init__(self, url: str, key: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = f"{url.rstrip('/')}/api/v1"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, section: ApiSection, *, timeout_s: float = TIMEOUT_S) -> Gateway:
        return cls(section.url, section.key.get_secret_value() if section.key else "", timeout_s=timeout_s)

    async def get(
        self, path: str, kind: type[T], params: Mapping[str, str | int] | None = None, *, statuses: tuple[int, ...] = ()
    ) -> T:
        """The answer of an endpoint. `statuses`: those beside 200 that carry one too. Raises Away."""
        try:
            request = self._open().get(self._url + path, params=params, headers=self._headers, allow_redirects=False)
            async with request as response:
                status, body = response.status, await limited(response.content)
        except TimeoutError:
            raise Away("timeout") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.warning("the HTTP API is away", path=path, error=type(error).__name__)
            raise Away("unreachable") from None
        if status != 200 and status not in statuses:
            log.warning("the HTTP API refused", path=path, status=status)
            raise Away("denied" if status in (401, 403) else "refused" if status < 500 else "server_error")
        if len(body) > ANSWER_BYTES_MAX:
            raise Away("too_large")
        try:
            return decode(body, kind)
        except Malformed as error:
            log.warning("the HTTP API makes no sense", path=path, error=str(error))
            raise Away("senseless") from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


async def limited(content: aiohttp.StreamReader) -> bytes:
    """What comes, and no more than ANSWER_BYTES_MAX and a little of it."""
    body = b""
    while len(body) <= ANSWER_BYTES_MAX and (more := await content.readany()):
        body += more
    return body
