"""Who may ask."""

from __future__ import annotations

import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from api_gateway.http.auth import is_loopback
from api_gateway.keys import new_key
from tocsin_common import documents
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import ApiKey
from tocsin_common.streams import API_KEYS


async def store(bus: Bus, key: ApiKey) -> None:
    await bus.bucket(API_KEYS).put(key.key_id, documents.encode(key))


def test_a_new_key_stores_only_the_hash_of_its_secret() -> None:
    token, key = new_key("ann", expires_ms=5)
    prefix, key_id, secret = token.split("_")
    assert (prefix, key_id, key.name, key.expires_ms, key.scopes) == ("tcs", key.key_id, "ann", 5, ["read"])
    assert secret not in documents.encode(key).decode()
    assert len(bytes.fromhex(secret)) * 8 >= 128
    assert new_key("ann")[0] != token


async def test_on_loopback_without_any_key_everyone_on_this_machine_may_ask(reading: Any) -> None:
    assert (await reading.get("/signals"))[0] == 200


async def test_without_keys_a_request_for_another_host_is_refused(reading: Any) -> None:
    status, found = await reading.get("/signals", Host="rebound.example:80")
    assert (status, found["title"]) == (403, "Forbidden")
    assert (await reading.get("/signals", Host="localhost:8080"))[0] == 200


async def test_bound_elsewhere_without_any_key_nobody_may_ask_and_the_remedy_is_named(
    start_gateway: Any, memory_bus: Any
) -> None:
    gateway = await start_gateway(memory_bus, bound_host="0.0.0.0", project=False)
    for path in ("/signals", "/openapi.json", "/nothing", "/stream"):
        status, found = await gateway.get(path)
        assert status == 401
        assert "tocsin keys create" in found["detail"]


async def test_with_a_key_in_the_bucket_only_its_owner_may_ask(
    start_gateway: Any, jetstream_bus: JetStreamBus, until: Any
) -> None:
    gateway = await start_gateway(jetstream_bus, project=False)
    token, key = new_key("ann")
    await store(jetstream_bus, key)
    await until(lambda: not gateway.keyring.empty)
    async with gateway.http.get(f"{gateway.url}/api/v1/signals") as response:
        assert (response.status, response.headers["WWW-Authenticate"]) == (401, 'Bearer realm="tocsin"')
    assert (await gateway.get("/signals", Authorization=f"Bearer {token}"))[0] == 200
    assert (await gateway.get("/signals", **{"X-API-Key": token}))[0] == 200
    await jetstream_bus.bucket(API_KEYS).delete(key.key_id)
    other = new_key("bob")[1]
    await store(jetstream_bus, other)
    await until(lambda: key.key_id not in gateway.keyring._keys and not gateway.keyring.empty)
    assert (await gateway.get("/signals", Authorization=f"Bearer {token}"))[0] == 401


async def test_wrong_expired_and_malformed_tokens_are_refused(reading: Any, until: Any) -> None:
    token, key = new_key("ann")
    old_token, old = new_key("old", expires_ms=time.time_ns() // 1_000_000 - 1)
    for item in (key, old):
        await store(reading.bus, item)
    await until(lambda: len(reading.keyring._keys) == 2)
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    mixed = f"tcs_{key.key_id}_{old_token.split('_')[2]}"
    for bad in (wrong, mixed, old_token, "tcs_x_y", "", "ä", "a" * 5000, f"{token} ", "tcs__"):
        status = (await reading.get("/signals", **{"X-API-Key": bad.strip() or "-"}))[0]
        assert status == (200 if bad.strip() == token else 401), bad
    assert (await reading.get("/signals", Authorization=f"Basic {token}"))[0] == 401


async def test_a_key_in_the_url_does_not_count_and_never_reaches_the_log(reading: Any, until: Any) -> None:
    token, key = new_key("ann")
    await store(reading.bus, key)
    await until(lambda: not reading.keyring.empty)
    with capture_logs() as logs:
        status, found = await reading.get(f"/signals?api_key={token}")
        await reading.get("/signals", Authorization=f"Bearer {token}")
    assert status == 401
    assert token.split("_")[2] not in str(logs) + str(found)


async def test_a_key_without_the_scope_is_refused(reading: Any, until: Any) -> None:
    token, key = new_key("ann")
    await store(reading.bus, ApiKey(key_id=key.key_id, name="x", secret_sha256=key.secret_sha256, scopes=["operate"]))
    await until(lambda: not reading.keyring.empty)
    assert (await reading.get("/signals", Authorization=f"Bearer {token}"))[0] == 403


async def test_an_unreadable_key_document_does_not_open_the_door(reading: Any, until: Any) -> None:
    token, key = new_key("ann")
    await store(reading.bus, key)
    await until(lambda: not reading.keyring.empty)
    await reading.bus.bucket(API_KEYS).put(key.key_id, b"{broken")
    await until(lambda: key.key_id in reading.keyring.unreadable)
    assert (await reading.get("/signals", Authorization=f"Bearer {token}"))[0] == 401
    assert (await reading.get("/signals"))[0] == 401


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_loopback_means_this_machine_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
