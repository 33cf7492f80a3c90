"""Rules, subscribers and silences over HTTP, for whom a key stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.managed import Managed

from api_gateway.keys import new_key
from tocsin_common import documents
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.decoding import decode
from tocsin_common.documents import ApiKey, Destination, SignalRule, Subscriber, encode
from tocsin_common.errors import Malformed
from tocsin_common.events import DocumentChanged
from tocsin_common.streams import ALERT_RULES, API_KEYS, MANAGEMENT, SUBSCRIBERS

MAIL = Destination(channel="email", address="ann.smith@example.org", secret="")
RULE = {"kind": "signal", "name": "Longs", "sides": ["long"]}
GENERAL = SignalRule(rule_id="general", name="All", subscribers=["ann", "bob"])

KEYS: dict[str, ApiKey] = {}
TOKENS: dict[str, str] = {}
for _name, _scopes, _subscriber in (
    ("reader", ["read"], ""),
    ("ann", ["manage"], "ann"),
    ("bob", ["manage", "read"], "bob"),
    ("operator", ["operate"], ""),
):
    TOKENS[_name], KEYS[_name] = new_key(_name, scopes=_scopes, subscriber_id=_subscriber)


class Client:
    """Asks a gateway with somebody's key."""

    def __init__(self, gateway: Any) -> None:
        self.gateway = gateway

    async def __call__(
        self, who: str, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, str | None]:
        """Status, JSON (None: no body), ETag."""
        sent = {"Authorization": f"Bearer {TOKENS[who]}"} if who else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.gateway.url}/api/v1{path}"
        async with self.gateway.http.request(method, url, json=body, headers=sent) as response:
            found = await response.json(content_type=None) if response.content_length else None
            return response.status, found, response.headers.get("ETag")


@pytest.fixture
async def asking(start_gateway: Any, memory_bus: MemoryBus, until: Any) -> AsyncIterator[Client]:
    """Alerting and a gateway on one bus, with a key of every kind."""
    for name in ("ann", "bob"):
        document = Subscriber(subscriber_id=name, name=name, destinations=[MAIL])
        await memory_bus.bucket(SUBSCRIBERS).put(name, encode(document))
    await memory_bus.bucket(ALERT_RULES).put("general", encode(GENERAL))
    for key in KEYS.values():
        await memory_bus.bucket(API_KEYS).put(key.key_id, documents.encode(key))
    gateway = await start_gateway(memory_bus, project=False)
    async with (await Managed.on(memory_bus)).served():
        yield Client(gateway)


async def test_a_rule_is_made_read_changed_and_deleted(asking: Client, memory_bus: MemoryBus) -> None:
    status, made, first = await asking("ann", "PUT", "/rules/ann:longs", RULE, If_None_Match="*")
    assert (status, made["owner"], made["subscribers"]) == (201, "ann", ["ann"])
    assert await asking("ann", "GET", "/rules/ann:longs") == (200, made, first)
    changed = made | {"min_confidence": 70}
    status, _, second = await asking("ann", "PUT", "/rules/ann:longs", changed, If_Match=str(first))
    assert (status, second != first) == (200, True)
    assert (await asking("ann", "PUT", "/rules/ann:longs", made, If_Match=str(first)))[0] == 412
    assert (await asking("ann", "PUT", "/rules/ann:longs", RULE, If_None_Match="*"))[0] == 412
    assert (await asking("ann", "DELETE", "/rules/ann:longs", If_Match=str(second)))[0] == 204
    assert (await asking("ann", "GET", "/rules/ann:longs"))[0] == 404
    stated = [message.event() for message in await memory_bus.reader(MANAGEMENT, after=0).through(9)]
    assert [one.via for one in stated if isinstance(one, DocumentChanged)] == 3 * [f"key {KEYS['ann'].key_id}"]


OPEN = {"reader": {"/signals", "/deliveries"}, "ann": set[str](), "bob": {"/signals", "/deliveries"}, "operator": set()}
MANAGED = ("/rules", "/rules/general", "/subscribers", "/subscribers/ann", "/subscribers/ann/deliveries", "/silences")
SEEN = {
    "reader": dict.fromkeys(MANAGED, 403),
    "ann": dict.fromkeys(MANAGED, 200) | {"/rules/general": 404},
    "bob": dict.fromkeys(MANAGED, 200)
    | {"/rules/general": 404, "/subscribers/ann": 404, "/subscribers/ann/deliveries": 404},
    "operator": dict.fromkeys(MANAGED, 200),
    "": dict.fromkeys(MANAGED, 401),
}


@pytest.mark.parametrize("who", SEEN)
async def test_what_a_key_may_do_is_what_its_scopes_say(asking: Client, who: str) -> None:
    assert {path: (await asking(who, "GET", path))[0] for path in MANAGED} == SEEN[who]
    for path in ("/signals", "/deliveries"):
        allowed = 200 if path in OPEN.get(who, ()) else 403
        assert (await asking(who, "GET", path))[0] == (allowed if who else 401)
    for path in ("/openapi.json", "/health"):
        assert (await asking(who, "GET", path))[0] in ((200, 503) if who else (401,))
    put = await asking(who, "PUT", "/rules/bob:mine", RULE, If_None_Match="*")
    assert put[0] == {"reader": 403, "ann": 403, "bob": 201, "operator": 422, "": 401}[who]
    sent = await asking(who, "POST", "/subscribers/bob/test")
    assert sent[0] == {"reader": 403, "ann": 404, "bob": 202, "operator": 202, "": 401}[who]


async def test_without_any_key_nothing_is_managed(reading: Any) -> None:
    for path in MANAGED:
        status, found = await reading.get(path)
        assert status == 403
        assert "tocsin keys create NAME --scope operate" in found["detail"]


async def test_no_address_comes_back(asking: Client) -> None:
    for path in ("/subscribers", "/subscribers/ann"):
        _, found, _ = await asking("operator", "GET", path)
        assert "ann.smith" not in str(found)
        assert "a…@example.org" in str(found)
    _, ann, tag = await asking("ann", "GET", "/subscribers/ann")
    status, kept, _ = await asking("ann", "PUT", "/subscribers/ann", ann | {"name": "Ann S."}, If_Match=str(tag))
    assert (status, kept["destinations"]) == (200, ann["destinations"])


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "named"),
    [
        ("PUT", "/rules/ann:x", RULE, {}, 428, "If-Match"),
        ("PUT", "/rules/ann:x", RULE, {"If_Match": "*"}, 428, "If-Match"),
        ("PUT", "/rules/ann:x", RULE, {"If_Match": 'W/"1"'}, 428, "If-Match"),
        ("DELETE", "/rules/ann:x", None, {"If_None_Match": "*"}, 428, "If-Match"),
        ("PUT", "/rules/ann:x", [RULE], {"If_None_Match": "*"}, 422, "JSON object"),
        ("PUT", "/rules/ann:x", RULE | {"sides": ["up"]}, {"If_None_Match": "*"}, 422, "it may be long, short"),
        ("PUT", "/rules/ann:x", RULE | {"kind": "dream"}, {"If_None_Match": "*"}, 422, "it may be signal, outcome"),
        ("PUT", "/rules/ann:x", RULE | {"note": "n" * 20_000}, {"If_None_Match": "*"}, 413, "16384 bytes"),
        ("PUT", "/rules/other", RULE, {"If_None_Match": "*"}, 403, "'ann:'"),
        ("PUT", f"/rules/ann:{'x' * 300}", RULE, {"If_None_Match": "*"}, 422, "200"),
        ("GET", "/rules?limit=0", None, {}, 422, "limit"),
        ("GET", "/rules?colour=red", None, {}, 422, "colour"),
        ("GET", "/why/nothing", None, {}, 404, "nothing is stored"),
        ("POST", "/subscribers/ann/test?channel=pigeon", None, {}, 422, "channel"),
        ("POST", "/subscribers/ann/test?channel=telegram", None, {}, 422, "telegram"),
        ("POST", "/rules/ann:x", None, {}, 405, ""),
    ],
)
async def test_a_wrong_request_is_a_problem_that_names_it(
    asking: Client, method: str, path: str, body: Any, headers: dict[str, str], status: int, named: str
) -> None:
    found, problem, _ = await asking("ann", method, path, body, **headers)
    assert (found, problem["status"]) == (status, status)
    assert named in problem["detail"]


@pytest.mark.parametrize("body", [b"{nonsense", b'{"name": "\xff"}', b"[" * 5_000 + b"]" * 5_000])
async def test_what_is_no_json_is_said_so(asking: Client, body: bytes) -> None:
    url = f"{asking.gateway.url}/api/v1/rules/ann:x"
    headers = {"Authorization": f"Bearer {TOKENS['ann']}", "If-None-Match": "*"}
    async with asking.gateway.http.put(url, data=body, headers=headers) as response:
        assert response.status == 400


async def test_lists_are_walked_by_their_next(asking: Client) -> None:
    for number in range(5):
        await asking("ann", "PUT", f"/rules/ann:{number}", RULE, If_None_Match="*")
    seen, path = [], "/rules?limit=2"
    while path:
        _, page, _ = await asking("ann", "GET", path)
        seen += [one["id"] for one in page["items"]]
        path = (page["next"] or "").removeprefix("/api/v1")
    assert seen == [f"ann:{number}" for number in range(5)]


async def test_a_test_is_sent_once_and_told_why(asking: Client) -> None:
    status, opened, _ = await asking("ann", "POST", "/subscribers/ann/test")
    assert (status, [one["channel"] for one in opened["deliveries"]]) == (202, ["email"])
    assert (await asking("ann", "POST", "/subscribers/ann/test"))[1] == opened
    _, why, _ = await asking("ann", "GET", f"/why/{opened['alert_id']}")
    assert [one["sentence"] for one in why["verdicts"]] == ["ann: waiting to be sent on email."]
    _, log, _ = await asking("ann", "GET", "/subscribers/ann/deliveries")
    assert [(one["state"], one["alert_id"]) for one in log["items"]] == [("queued", opened["alert_id"])]
    assert (await asking("bob", "GET", f"/why/{opened['alert_id']}"))[0] == 404


async def test_while_alerting_is_away_it_is_503(start_gateway: Any, memory_bus: MemoryBus) -> None:
    await memory_bus.bucket(API_KEYS).put(KEYS["ann"].key_id, documents.encode(KEYS["ann"]))
    asking = Client(await start_gateway(memory_bus, project=False))
    status, problem, _ = await asking("ann", "GET", "/rules")
    assert (status, problem["detail"]) == (503, "Alerting does not answer at the moment; try again.")


async def test_the_openapi_document_shows_what_is_managed(asking: Client) -> None:
    _, document, _ = await asking("operator", "GET", "/openapi.json")
    paths = document["paths"]
    assert set(paths["/api/v1/rules/{document_id}"]) == {"get", "put", "delete"}
    assert "PriceRule" in document["components"]["schemas"]
    assert paths["/api/v1/subscribers/{subscriber_id}/test"]["post"]["responses"]["202"]


@pytest.mark.parametrize(
    ("scopes", "subscriber_id"), [(["manage"], ""), (["read"], "ann"), (["manage", "operate"], "ann"), ([], "")]
)
def test_a_key_that_manages_is_of_one_subscriber_and_no_other_is(scopes: list[Any], subscriber_id: str) -> None:
    with pytest.raises(ValueError, match="scope"):
        new_key("x", scopes=scopes, subscriber_id=subscriber_id)
    stored = encode(KEYS["ann"]).replace(b'["manage"]', str(scopes).replace("'", '"').encode())
    stored = stored.replace(b'"subscriber_id":"ann"', f'"subscriber_id":"{subscriber_id}"'.encode())
    with pytest.raises(Malformed):
        decode(stored, ApiKey)
