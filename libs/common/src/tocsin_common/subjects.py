"""NATS subjects: one function per family, and the reversible encoding of names into subject tokens.

`/` becomes `-` and `:` becomes `_`, so `BTC/USDT:USDT` reads `BTC-USDT_USDT`; every other character outside
`[A-Za-z0-9]` becomes `=XX` per UTF-8 byte. The alphabet is also legal in key-value keys.
"""

from __future__ import annotations

from functools import lru_cache

PARTITIONS = 64
"""Trades and candles are split by instrument into this many partitions (design: Scale)."""

FENCE = "fence."
"""Subjects that begin so hold the bus's own messages, which nobody is handed."""

_FNV32_OFFSET, _FNV32_PRIME = 2166136261, 16777619
_SHORT = {"/": "-", ":": "_"}
_LONG = {short: char for char, short in _SHORT.items()}


@lru_cache(maxsize=65536)
def encode_token(name: str) -> str:
    """Encode any non-empty text as one subject token. Raises ValueError for the empty text."""
    if not name:
        raise ValueError("a subject token cannot be empty")
    return "".join(_encode_char(char) for char in name)


@lru_cache(maxsize=65536)
def decode_token(token: str) -> str:
    """Give back the text that `encode_token` encoded. Raises ValueError when it did not."""
    raw, position = bytearray(), 0
    while position < len(token):
        char = token[position]
        if char == "=":
            raw += bytes.fromhex(token[position + 1 : position + 3])
            position += 3
        else:
            raw += _LONG.get(char, char).encode()
            position += 1
    name = raw.decode()
    if not name or encode_token(name) != token:
        raise ValueError(f"{token!r} is not an encoded name")
    return name


def _encode_char(char: str) -> str:
    if char.isascii() and char.isalnum():
        return char
    return _SHORT.get(char) or "".join(f"={byte:02X}" for byte in char.encode())


@lru_cache(maxsize=65536)
def partition_of(exchange: str, symbol: str) -> int:
    """Partition of an instrument, as the server's `partition(64,1,2)` computes it (FNV-1a, 32 bits)."""
    digest = _FNV32_OFFSET
    for byte in (encode_token(exchange) + encode_token(symbol)).encode():
        digest = ((digest ^ byte) * _FNV32_PRIME) & 0xFFFFFFFF
    return digest % PARTITIONS


def trades(exchange: str, symbol: str) -> str:
    return f"market.trades.{encode_token(exchange)}.{encode_token(symbol)}"


def candles(exchange: str, symbol: str, timeframe: str) -> str:
    return f"market.candles.{encode_token(exchange)}.{encode_token(symbol)}.{timeframe}"


def feed(exchange: str) -> str:
    return f"market.feed.{encode_token(exchange)}"


def quote(exchange: str, symbol: str) -> str:
    return f"market.quotes.{encode_token(exchange)}.{encode_token(symbol)}"


def funding(exchange: str, symbol: str) -> str:
    return f"market.funding.{encode_token(exchange)}.{encode_token(symbol)}"


def ticker(exchange: str, symbol: str) -> str:
    return f"market.tickers.{encode_token(exchange)}.{encode_token(symbol)}"


def clock(stage: str) -> str:
    return f"clock.{stage}"


def signal(exchange: str, symbol: str, timeframe: str, strategy: str) -> str:
    return f"signals.{encode_token(exchange)}.{encode_token(symbol)}.{timeframe}.{encode_token(strategy)}"


def indicators(exchange: str, symbol: str, timeframe: str) -> str:
    return f"indicators.{encode_token(exchange)}.{encode_token(symbol)}.{timeframe}"


INDICATORS_OFFERED = "engine.offered.indicators"


def quarantine(strategy: str) -> str:
    return f"engine.quarantine.{encode_token(strategy)}"


def rounds(pace: str) -> str:
    return f"engine.rounds.{pace}"


def outcome(exchange: str, symbol: str, timeframe: str, strategy: str) -> str:
    return f"outcomes.{encode_token(exchange)}.{encode_token(symbol)}.{timeframe}.{encode_token(strategy)}"


def paper(portfolio: str, event: str) -> str:
    return f"paper.{encode_token(portfolio)}.{event}"


def alert_raised(rule_id: str, exchange: str, symbol: str) -> str:
    """`symbol` empty: the whole exchange. A test is of no rule."""
    return f"alerts.raised.{encode_token(rule_id or '*')}.{encode_token(exchange)}.{encode_token(symbol or '*')}"


def alerts_raised_by(rule_id: str) -> str:
    """The pattern of everything a rule rang."""
    return f"alerts.raised.{encode_token(rule_id)}.*.*"


def alert_suppressed(rule_id: str) -> str:
    return f"alerts.suppressed.{encode_token(rule_id)}"


def delivery(channel: str, delivery_id: str) -> str:
    return f"deliveries.{channel}.{delivery_id}"


def digest_line(channel: str, subscriber_id: str, delivery_id: str) -> str:
    return f"digests.line.{channel}.{encode_token(subscriber_id)}.{delivery_id}"


def digest_lines(channel: str, subscriber_id: str) -> str:
    """The pattern of everything that was put aside of a subscriber on a channel."""
    return f"digests.line.{channel}.{encode_token(subscriber_id)}.*"


def digest_ended(channel: str, subscriber_id: str, delivery_id: str) -> str:
    return f"digests.ended.{channel}.{encode_token(subscriber_id)}.{delivery_id}"


def send(channel: str, severity: str) -> str:
    return f"send.{channel}.{severity}"


def bot_update(bot: str, update_id: int) -> str:
    return f"bot.{encode_token(bot)}.{update_id}"


def management(kind: str, document_id: str) -> str:
    return f"management.{kind}.{encode_token(document_id)}"


def fence(stream: str, part: int) -> str:
    """Where the newest writer of one part of a stream announces itself (see `Bus.raise_fence`)."""
    return f"{FENCE}{stream.lower()}.{part}"


def dead(service: str, original: str) -> str:
    return f"dead.{service}.{original}"


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject falls under a NATS pattern (`*` one token, trailing `>` one or more)."""
    wanted, given = pattern.split("."), subject.split(".")
    for position, token in enumerate(wanted):
        if token == ">":
            return len(given) > position
        if position >= len(given) or token not in ("*", given[position]):
            return False
    return len(wanted) == len(given)
