"""API keys: how one is made, and the keyring that knows which are valid now."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

import structlog

from api_gateway.stopping import until_stopped
from tocsin_common.bus.protocol import Bus, Entry
from tocsin_common.decoding import decode
from tocsin_common.documents import ApiKey, Scope
from tocsin_common.errors import Malformed, Unreachable
from tocsin_common.streams import API_KEYS

log = structlog.get_logger()

KEY_ID_BYTES, SECRET_BYTES = 6, 32
RETRY_S = 1.0
_TOKEN = re.compile(r"tcs_([0-9a-zA-Z]{1,64})_([0-9a-zA-Z]{16,128})")


def new_key(
    name: str, *, expires_ms: int | None = None, scopes: Sequence[Scope] = ("read",), subscriber_id: str = ""
) -> tuple[str, ApiKey]:
    """A fresh token, shown once to its owner, and the document to store in the bucket under its `key_id`.

    Raises ValueError where scopes and subscriber do not go together.
    """
    key_id, secret = secrets.token_hex(KEY_ID_BYTES), secrets.token_hex(SECRET_BYTES)
    key = ApiKey(
        key_id=key_id,
        name=name,
        secret_sha256=_sha256(secret),
        expires_ms=expires_ms,
        scopes=list(scopes),
        subscriber_id=subscriber_id,
    )
    return f"tcs_{key_id}_{secret}", key


class Keyring:
    """The API keys of the bucket, followed as they change: a revoked key stops working at once."""

    def __init__(self, bus: Bus) -> None:
        self.loaded = asyncio.Event()
        self.unreadable: set[str] = set()
        self._bus = bus
        self._keys: dict[str, ApiKey] = {}

    @property
    def empty(self) -> bool:
        """Whether nobody has made a key yet; one that cannot be read was still made to close the door."""
        return not self._keys and not self.unreadable

    def owner(self, token: str, *, now_ms: int) -> ApiKey | None:
        """The key a token belongs to, or None if it is unknown, wrong or expired; takes the same time either way."""
        match = _TOKEN.fullmatch(token)
        key_id, secret = match.groups() if match else ("", token)
        key = self._keys.get(key_id)
        genuine = hmac.compare_digest(_sha256(secret), key.secret_sha256 if key else "0" * 64)
        if key is None or not genuine or (key.expires_ms is not None and key.expires_ms <= now_ms):
            return None
        return key

    async def follow(self, stop: asyncio.Event) -> None:
        """Load the bucket, then keep up with it until `stop`, through any outage."""
        await until_stopped(self._follow(), stop)

    async def _follow(self) -> None:
        while True:
            try:
                await self._load_and_watch()
            except Unreachable as error:
                log.warning("API keys cannot be read", error=str(error))
            await asyncio.sleep(RETRY_S)

    async def _load_and_watch(self) -> None:
        bucket = self._bus.bucket(API_KEYS)
        entries = await bucket.all()
        self._keys.clear()
        self.unreadable.clear()
        for entry in entries.values():
            self._note(entry)
        self.loaded.set()
        async for entry in bucket.watch():
            self._note(entry)

    def _note(self, entry: Entry) -> None:
        """A changed document replaces the key, a deleted or unreadable one removes it."""
        self._keys.pop(entry.key, None)
        self.unreadable.discard(entry.key)
        if entry.value is None:
            return
        try:
            self._keys[entry.key] = decode(entry.value, ApiKey)
        except Malformed as error:
            self.unreadable.add(entry.key)
            log.error("an API key is not readable and does not work", key=entry.key, error=str(error))


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
