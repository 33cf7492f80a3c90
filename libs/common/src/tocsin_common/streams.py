"""Every stream, key-value bucket and durable consumer, declared here and created by one command.

Nothing is created as a side effect of publishing or subscribing: `tocsin streams apply` (which `tocsin up` calls)
makes the server match this file, and a service that misses its stream says so and waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tocsin_common.events import CHANNELS, SEVERITIES
from tocsin_common.subjects import FENCE, PARTITIONS, matches, send

HOUR_S = 3600
DAY_S = 24 * HOUR_S

DUPLICATE_WINDOW_S = HOUR_S
"""How long the server remembers message ids: longer than any outage we retry through. After it consumers still
treat ids as unique keys, and resuming services skip what they find already stored."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""A full column batch (10,000 trades) is about 0.7 MiB; the server's limit is 8 MiB."""


@dataclass(frozen=True)
class Stream:
    """One JetStream stream.

    `durability`: `sync` means an acknowledged write is on disk (decisions); `async` that the server flushes in its
    own time (market data, which the exchange or a file can give again). `transform` moves subjects
    `(source, destination)` on their way in: it puts the partition into the subject. A stream that takes `fence.>`
    has fences for its parts (`Bus.raise_fence`).
    """

    name: str
    subjects: tuple[str, ...]
    durability: Literal["sync", "async"]
    max_age_s: int = 0
    max_bytes: int = -1
    max_per_subject: int = -1
    max_message_bytes: int = MAX_MESSAGE_BYTES
    work_queue: bool = False
    transform: tuple[str, str] | None = None

    @property
    def fenced(self) -> bool:
        """Whether writers of its parts can fence each other off."""
        return any(subject.startswith(FENCE) for subject in self.subjects)

    @property
    def events(self) -> str:
        """What there is on it beside fences."""
        return f"{self.subjects[0].partition('.')[0]}.>" if self.fenced else ">"


TRADES = Stream(
    name="TRADES",
    subjects=("market.trades.*.*", "fence.trades.*"),
    durability="async",
    max_age_s=48 * HOUR_S,
    max_bytes=16 * 1024**3,
    transform=(
        "market.trades.*.*",
        f"market.trades.{{{{partition({PARTITIONS},1,2)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}",
    ),
)
CANDLES = Stream(
    name="CANDLES",
    subjects=("market.candles.*.*.*", "fence.candles.*"),
    durability="async",
    max_age_s=60 * DAY_S,
    transform=(
        "market.candles.*.*.*",
        f"market.candles.{{{{partition({PARTITIONS},1,2)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}.{{{{wildcard(3)}}}}",
    ),
)
FEEDS = Stream(name="FEEDS", subjects=("market.feed.*",), durability="async", max_age_s=60 * DAY_S)
QUOTES = Stream(
    name="QUOTES", subjects=("market.quotes.*.*",), durability="async", max_age_s=6 * HOUR_S, max_bytes=2 * 1024**3
)
FUNDING = Stream(name="FUNDING", subjects=("market.funding.*.*",), durability="async", max_age_s=60 * DAY_S)
TICKERS = Stream(
    name="TICKERS", subjects=("market.tickers.*.*",), durability="async", max_age_s=2 * DAY_S, max_bytes=1024**3
)
CLOCK = Stream(name="CLOCK", subjects=("clock.*",), durability="async", max_per_subject=200_000)
SIGNALS = Stream(name="SIGNALS", subjects=("signals.*.*.*.*", "fence.signals.*"), durability="sync")
INDICATORS = Stream(
    name="INDICATORS", subjects=("indicators.*.*.*",), durability="async", max_age_s=6 * HOUR_S, max_bytes=1024**3
)
ENGINE = Stream(name="ENGINE", subjects=("engine.*.*",), durability="async", max_age_s=60 * DAY_S)
"""What is known or doubted of the evaluation itself, as FEEDS is for the market: few messages, each for a person. A
stream of its own, so that who watches it is not handed every signal, and a full one harms nothing else."""
OUTCOMES = Stream(name="OUTCOMES", subjects=("outcomes.*.*.*.*",), durability="sync")
PAPER = Stream(name="PAPER", subjects=("paper.*.*",), durability="sync")
ALERTS = Stream(
    name="ALERTS", subjects=("alerts.raised.*.*.*", "alerts.suppressed.*"), durability="sync", max_age_s=365 * DAY_S
)
DELIVERIES = Stream(name="DELIVERIES", subjects=("deliveries.*.*",), durability="sync", max_age_s=365 * DAY_S)
DIGESTS = Stream(
    name="DIGESTS",
    subjects=("digests.line.*.*.*", "digests.ended.*.*.*"),
    durability="sync",
    max_age_s=365 * DAY_S,
)
SEND = Stream(name="SEND", subjects=("send.*.*",), durability="sync", work_queue=True)
BOT = Stream(name="BOT", subjects=("bot.*.*",), durability="sync", max_age_s=365 * DAY_S)
"""What the Telegram bot was asked; each update's entries are its ledger."""
MANAGEMENT = Stream(name="MANAGEMENT", subjects=("management.*.*",), durability="sync", max_age_s=365 * DAY_S)
"""Who changed which rule, subscriber or silence, and which destinations were asked, confirmed, unsubscribed. The
documents themselves are in the buckets."""
DEAD = Stream(
    name="DEAD",
    subjects=("dead.>",),
    durability="sync",
    max_age_s=365 * DAY_S,
    max_message_bytes=MAX_MESSAGE_BYTES * 3 // 2,  # a dead letter holds its message in base64, 4/3 of its size
)

STREAMS = (
    TRADES,
    CANDLES,
    FEEDS,
    QUOTES,
    FUNDING,
    TICKERS,
    CLOCK,
    SIGNALS,
    INDICATORS,
    ENGINE,
    OUTCOMES,
    PAPER,
    ALERTS,
    DELIVERIES,
    DIGESTS,
    SEND,
    BOT,
    MANAGEMENT,
    DEAD,
)
PROJECTED = (CANDLES, SIGNALS, OUTCOMES, PAPER, ALERTS, DELIVERIES)
"""The streams Postgres holds projections of."""


@dataclass(frozen=True)
class Bucket:
    """One key-value bucket. `durability` as for streams; `history` is how many revisions of a key are kept.

    `expires`: entries may be written with a time to live, after which the server removes them without a word.
    """

    name: str
    durability: Literal["sync", "async"] = "sync"
    history: int = 8
    expires: bool = False


ALERT_RULES = Bucket("alert_rules")
SUBSCRIBERS = Bucket("subscribers")
SILENCES = Bucket("silences")
PORTFOLIOS = Bucket("portfolios")
API_KEYS = Bucket("api_keys")
SEEDED = Bucket("seeded", history=1)
"""Digests of the documents that the configuration put into the other buckets: by them a person's change is noticed."""
SNAPSHOTS = Bucket("snapshots", durability="async", history=2)
LEASES = Bucket("leases", history=1, expires=True)
"""Who does what only one may do (`bus.leases`). Synced: a lease that a crashed server forgot would have two holders."""
PROGRESS = Bucket("progress", durability="async", history=1)
"""How far each replica of market-ingest and of signal-engine has come, for the ones that write the clock."""
VERIFICATIONS = Bucket("verifications", history=1, expires=True)
"""What is open to be confirmed: digests of codes and addresses, for a day."""
PERMITS = Bucket("permits", durability="async", history=1, expires=True)
"""When which receiver may be asked next, shared by the replicas of alerting. A crash forgets a window's worth."""
CLOSURES = Bucket("closures", durability="async", history=1, expires=True)
"""Until when receivers asked to be left alone, for all replicas of alerting. Who forgets it is told again."""
BUCKETS = (
    ALERT_RULES,
    SUBSCRIBERS,
    SILENCES,
    PORTFOLIOS,
    API_KEYS,
    SEEDED,
    SNAPSHOTS,
    LEASES,
    PROGRESS,
    VERIFICATIONS,
    PERMITS,
    CLOSURES,
)


@dataclass(frozen=True)
class Durable:
    """A durable pull consumer: the server remembers how far its service has come.

    `ack_wait_s` is how long a message may stay unacknowledged before it is offered again; `max_ack_pending` bounds
    what one service holds. The server never gives up on a message by itself: we count attempts and write the dead
    letter before terminating it.
    """

    name: str
    stream: Stream
    filter: str = ">"
    ack_wait_s: int = 60
    max_ack_pending: int = 2_000

    @property
    def ordered(self) -> bool:
        """Messages of a stream are handed out once and in order; those of a work queue in any order, and again."""
        return not self.stream.work_queue


PAPER_TRADER = Durable("paper-trader", CLOCK, "clock.signals")
ALERTING_SIGNALS = Durable("alerting-signals", SIGNALS, SIGNALS.events)
ALERTING_TRADES = Durable("alerting-trades", TRADES, TRADES.events)
ALERTING_CANDLES = Durable("alerting-candles", CANDLES, CANDLES.events)
ALERTING_OUTCOMES = Durable("alerting-outcomes", OUTCOMES)
ALERTING_FEEDS = Durable("alerting-feeds", FEEDS)
ALERTING_INDICATORS = Durable("alerting-indicators", INDICATORS)
ALERTING_PAPER = Durable("alerting-paper", PAPER)
ALERTING_ENGINE = Durable("alerting-engine", ENGINE)
ALERTING_DEAD = Durable("alerting-dead", DEAD)
ALERTING = (
    ALERTING_TRADES,
    ALERTING_CANDLES,
    ALERTING_FEEDS,
    ALERTING_INDICATORS,
    ALERTING_SIGNALS,
    ALERTING_OUTCOMES,
    ALERTING_PAPER,
    ALERTING_ENGINE,
    ALERTING_DEAD,
)
"""What rules look at, in the order in which one leads to another."""

ALERTING_SEND = {
    (channel, severity): Durable(
        f"alerting-send-{channel}-{severity}",
        SEND,
        send(channel, severity),
        ack_wait_s=30,
        max_ack_pending=50_000,
    )
    for channel in CHANNELS
    for severity in SEVERITIES
}
"""One queue for each channel and severity: what is critical is not behind ten thousand that are not.

Deliveries that wait for another attempt stay pending: many of them may not keep new ones from being handed out."""

PROJECTOR = {stream.name: Durable(f"projector-{stream.name.lower()}", stream, stream.events) for stream in PROJECTED}

DURABLES = (
    PAPER_TRADER,
    *ALERTING,
    *ALERTING_SEND.values(),
    *PROJECTOR.values(),
)


_BY_ROOT: dict[str, list[Stream]] = {}
"""Streams by the first token of their subjects: looked up once for every delivery."""
for _stream in STREAMS:
    for _root in {subject.partition(".")[0] for subject in _stream.subjects}:
        _BY_ROOT.setdefault(_root, []).append(_stream)


@lru_cache(maxsize=65536)
def stream_of(subject: str) -> Stream:
    """The stream that stores a published subject. Raises LookupError when none does."""
    for stream in _BY_ROOT.get(subject.partition(".")[0], ()):
        if any(matches(pattern, subject) for pattern in stream.subjects):
            return stream
    raise LookupError(f"no stream is declared for the subject {subject!r}")
