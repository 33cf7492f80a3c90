"""What is open to be confirmed, and how often an address was asked; both expire by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from alerting.reasons import Unconfirmed
from alerting.verification.codes import digest
from tocsin_common.bus.protocol import Bus, Entry
from tocsin_common.decoding import decode
from tocsin_common.documents import Destination
from tocsin_common.errors import Conflict, Rejected, Retryable
from tocsin_common.events import ChannelName, DestinationChanged
from tocsin_common.requests.management import Actor
from tocsin_common.streams import DAY_S, VERIFICATIONS

LIFETIME_S = DAY_S
ASKED_MAX = 3
"""Requests to one address in LIFETIME_S, whoever wants them: it may be a stranger's."""

TRIES = 3


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A request to confirm one destination: the `place` among those of its channel, and the digest of its address."""

    subscriber_id: str
    channel: ChannelName
    place: int
    address_digest: str
    expires_ms: int


class Opened:
    """The bucket VERIFICATIONS. Codes and addresses are in it as digests only."""

    def __init__(self, bus: Bus, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._bus, self._bucket = bus, bus.bucket(VERIFICATIONS)
        self._now_ms = clock_ms

    async def count(self, subscriber_id: str, destination: Destination) -> None:
        """Count a request. Raises Rejected where there were too many, Retryable when others count at the same time."""
        key = f"asked.{_asked(subscriber_id, destination)}"
        for _ in range(TRIES):
            now_ms, entry = self._now_ms(), await self._bucket.get(key)
            before = decode(entry.value, list[int]) if entry and entry.value else []
            recent = [ms for ms in before if now_ms - ms < LIFETIME_S * 1000]
            if len(recent) >= ASKED_MAX:
                raise Rejected(Unconfirmed.ASKED_TOO_OFTEN, f"{ASKED_MAX} requests a day; look for the ones before")
            value = msgspec.json.encode([*recent, now_ms])
            try:
                if entry is None:
                    await self._bucket.create(key, value, ttl_s=LIFETIME_S)
                else:
                    await self._bucket.update(key, value, entry.revision, ttl_s=LIFETIME_S)
                return
            except Conflict:
                continue
        raise Retryable("busy", "others ask for the same address")

    async def open(self, code: str, subscriber_id: str, place: int, destination: Destination) -> Open:
        """Let a code confirm a destination, once."""
        request = Open(
            subscriber_id=subscriber_id,
            channel=destination.channel,
            place=place,
            address_digest=address_digest(destination),
            expires_ms=self._now_ms() + LIFETIME_S * 1000,
        )
        await self._bucket.create(_key(code), msgspec.json.encode(request), ttl_s=LIFETIME_S)
        return request

    async def state(self, actor: Actor, request: Open, cause: str) -> None:
        """Say who has a destination asked, and never what its address is."""
        asked = DestinationChanged(
            subscriber_id=request.subscriber_id,
            channel=request.channel,
            place=request.place,
            state="asked",
            actor=actor.subscriber_id or None,
            via=actor.via,
            cause=cause,
            at_ms=self._now_ms(),
        )
        await self._bus.publish([asked])

    async def find(self, code: str) -> Open | None:
        """What a code confirms; None: nothing, or nothing any more."""
        entry = await self._bucket.get(_key(code))
        request = _decoded(entry) if entry else None
        return request if request and self._now_ms() < request.expires_ms else None

    async def close(self, code: str) -> None:
        """The code has done its work."""
        await self._bucket.delete(_key(code))


def address_digest(destination: Destination) -> str:
    """A code is void once the address is another one."""
    return digest(destination.channel, destination.address)


def _asked(subscriber_id: str, destination: Destination) -> str:
    """Under what requests are counted. On Telegram nobody is disturbed: the person comes to the bot."""
    if destination.channel == "telegram":
        return digest(subscriber_id, destination.channel)
    return address_digest(destination)


def _key(code: str) -> str:
    return f"code.{digest(code)}"


def _decoded(entry: Entry) -> Open | None:
    return decode(entry.value, Open) if entry.value else None
