"""Rules, subscribers and silences as people change them: what is theirs, never over another's writing, and stated."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.managed import ANN, BOB, NOW_MS, OPERATOR, Managed

from alerting.config import QuotasSection
from alerting.directory import Directory
from alerting.kinds import KINDS, RULE, SILENCE, SUBSCRIBER
from alerting.management.core import Management
from alerting.management.permissions import may_see
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Destination, Document, PriceRule, Quota, SignalRule, Silence, Subscriber, encode
from tocsin_common.errors import Rejected
from tocsin_common.events import DocumentChanged
from tocsin_common.requests import management as asked
from tocsin_common.requests.management import Actor
from tocsin_common.streams import MANAGEMENT
from tocsin_common.subjects import encode_token

MAIL = Destination(channel="email", address="ann.smith@example.org")
CHAT = Destination(channel="telegram", address="123456789")
ANN_DOCUMENT = Subscriber(subscriber_id="ann", name="Ann", destinations=[CHAT, MAIL])
LEVEL = PriceRule(rule_id="ann:high", name="High", subscribers=[], exchange="binance", symbol="BTC/USDT", level=1e5)
NIGHT = Silence(silence_id="ann:night", starts_ms=0, ends_ms=1, author="?")


async def managed(bus: Bus) -> tuple[Management, Directory]:
    found = await Managed.on(bus)
    return found.management, found.directory


async def stated(bus: Bus) -> list[DocumentChanged]:
    last = (await bus.stream_state(MANAGEMENT)).last_seq
    events = [message.event() for message in await bus.reader(MANAGEMENT, after=0).through(last)]
    return [event for event in events if isinstance(event, DocumentChanged)]


@pytest.fixture
async def management(memory_bus: MemoryBus) -> Management:
    return (await managed(memory_bus))[0]


async def test_what_is_written_is_in_force_and_stated_with_who_did_it(memory_bus: MemoryBus) -> None:
    management, directory = await managed(memory_bus)
    written = await management.put(ANN, RULE, LEVEL, 0)
    assert (written.document.owner, written.document.subscribers) == ("ann", ["ann"])
    assert directory.rules.in_force("ann:high", written.revision)
    assert await management.get(ANN, RULE, "ann:high") == written
    assert management.page(ANN, RULE) == [written]
    deleted = await management.delete(OPERATOR, RULE, "ann:high", written.revision)
    assert len(directory.rules) == 0
    common = {"kind": "rule", "id": "ann:high", "via": "test", "at_ms": NOW_MS}
    assert await stated(memory_bus) == [
        DocumentChanged(action="written", revision=written.revision, actor="ann", **common),
        DocumentChanged(action="deleted", revision=deleted, actor=None, **common),
    ]


async def test_nobody_overwrites_what_they_have_not_seen(management: Management) -> None:
    first = await management.put(OPERATOR, RULE, LEVEL, 0)
    with pytest.raises(Rejected, match="conflict: there is a rule 'ann:high' already"):
        await management.put(OPERATOR, RULE, replace(LEVEL, level=2.0), 0)
    second = await management.put(OPERATOR, RULE, replace(LEVEL, level=2.0), first.revision)
    with pytest.raises(Rejected, match=rf"conflict: .* not at revision {first.revision} any more; read it again"):
        await management.put(OPERATOR, RULE, replace(LEVEL, level=3.0), first.revision)
    with pytest.raises(Rejected, match="conflict"):
        await management.delete(OPERATOR, RULE, "ann:high", first.revision)
    assert await management.get(OPERATOR, RULE, "ann:high") == second


async def test_who_lost_the_answer_asks_again_and_nothing_is_written_twice(
    memory_bus: MemoryBus, management: Management
) -> None:
    first = await management.put(ANN, RULE, LEVEL, 0)
    assert await management.put(ANN, RULE, LEVEL, 0) == first
    assert len(await stated(memory_bus)) == 1


async def test_a_rule_written_again_with_the_same_content_is_armed_anew(management: Management) -> None:
    first = await management.put(ANN, RULE, LEVEL, 0)
    assert (await management.put(ANN, RULE, LEVEL, first.revision)).revision > first.revision


async def test_a_change_is_made_anew_when_somebody_was_faster(management: Management) -> None:
    await management.put(OPERATOR, SUBSCRIBER, ANN_DOCUMENT, 0)

    async def mute(until_ms: int) -> None:
        await management.change(ANN, SUBSCRIBER, "ann", lambda one: replace(one, muted_until_ms=until_ms))

    await asyncio.gather(mute(1), mute(2))
    assert (await management.get(ANN, SUBSCRIBER, "ann")).revision == 3


names = st.sampled_from(["ann", "bob", "ann:a", "bob:b", "ann:a:b", "a", ":", "ann:"])
who = st.sampled_from([[], ["ann"], ["bob"], ["ann", "bob"]])
actors = st.sampled_from([OPERATOR, ANN, BOB])
documents = st.one_of(
    st.builds(SignalRule, rule_id=names, name=st.just("r"), subscribers=who, owner=st.sampled_from(["", "ann", "bob"])),
    st.builds(
        Silence, silence_id=names, starts_ms=st.just(0), ends_ms=st.just(1), author=st.just("ann"), subscribers=who
    ),
    st.builds(
        Subscriber,
        subscriber_id=st.sampled_from(["ann", "bob"]),
        name=st.just("n"),
        destinations=st.just([CHAT]),
        muted_until_ms=st.integers(0, 3),
    ),
)
steps = st.tuples(actors, documents, st.sampled_from(["put", "create", "delete", "get"]))


async def tries(management: Management, actor: Actor, document: Document, what: str) -> None:
    kind = next(kind for kind in KINDS.values() if isinstance(document, kind.type))
    name = kind.id_of(document)
    known = [one for one in management.page(OPERATOR, kind) if kind.id_of(one.document) == name]
    revision = known[0].revision if known and what != "create" else 0
    try:
        if what == "get":
            assert may_see(actor, (await management.get(actor, kind, name)).document)
        elif what == "delete":
            await management.delete(actor, kind, name, revision or 1)
        else:
            await management.put(actor, kind, document, revision)
    except Rejected as error:
        if error.reason not in ("not_found", "forbidden", "conflict"):
            raise


@settings(max_examples=80)
@given(st.lists(steps, max_size=12))
def test_nobody_sees_or_changes_what_is_not_theirs(script: list[tuple[Actor, Document, str]]) -> None:
    asyncio.run(_nothing_of_others(script))


async def _nothing_of_others(script: list[tuple[Actor, Document, str]]) -> None:
    bus = MemoryBus()
    management, _ = await managed(bus)
    for actor, document, what in script:
        before = {kind.name: management.page(OPERATOR, kind) for kind in KINDS.values()}
        await tries(management, actor, document, what)
        for kind in KINDS.values():
            after = management.page(OPERATOR, kind)
            assert all(may_see(actor, one.document) for one in management.page(actor, kind))
            gone = [one for one in before[kind.name] if one not in after]
            came = [one for one in after if one not in before[kind.name]]
            assert all(may_see(actor, one.document) for one in gone + came)
            assert actor.is_operator or kind is not SUBSCRIBER or len(gone) == len(came)


async def test_another_ones_documents_are_not_there(management: Management) -> None:
    await management.put(OPERATOR, SUBSCRIBER, ANN_DOCUMENT, 0)
    rule = await management.put(ANN, RULE, LEVEL, 0)
    for attempt in (
        management.get(BOB, RULE, "ann:high"),
        management.put(BOB, RULE, LEVEL, rule.revision),
        management.delete(BOB, RULE, "ann:high", rule.revision),
    ):
        with pytest.raises(Rejected, match="not_found: there is no rule 'ann:high'"):
            await attempt
    with pytest.raises(Rejected, match="not_found"):
        await management.put(BOB, SUBSCRIBER, ANN_DOCUMENT, 1)


@pytest.mark.parametrize("rule_id", ["high", "bob:high", "ann:", "ann:a:b", ":x"])
async def test_subscribers_name_what_they_make_after_themselves(management: Management, rule_id: str) -> None:
    with pytest.raises(Rejected, match=r"forbidden: the id must begin with 'ann:', for example 'ann:mine'"):
        await management.put(ANN, RULE, replace(LEVEL, rule_id=rule_id), 0)


async def test_what_subscribers_make_is_bounded(memory_bus: MemoryBus) -> None:
    management = (await Managed.on(memory_bus, quotas=QuotasSection(rules=1, silences=2))).management
    for number in range(2):
        await management.put(ANN, SILENCE, replace(NIGHT, silence_id=f"ann:{number}"), 0)
    with pytest.raises(Rejected, match="too_many: you may have 2 silences"):
        await management.put(ANN, SILENCE, NIGHT, 0)
    await management.put(ANN, RULE, LEVEL, 0)
    with pytest.raises(Rejected, match="too_many: you may have 1 rules"):
        await management.put(ANN, RULE, replace(LEVEL, rule_id="ann:low"), 0)
    assert (await management.put(BOB, SILENCE, replace(NIGHT, silence_id="bob:1"), 0)).document.subscribers == ["bob"]


async def test_operators_alone_give_somebody_another_quota(memory_bus: MemoryBus) -> None:
    management = (await Managed.on(memory_bus, quotas=QuotasSection(rules=0, destinations=1))).management
    more = replace(ANN_DOCUMENT, quota=Quota(rules=1, destinations=3))
    written = await management.put(OPERATOR, SUBSCRIBER, more, 0)
    greedy = replace(ANN_DOCUMENT, quota=Quota(rules=10_000, destinations=99), destinations=[CHAT, MAIL, MAIL])
    written = await management.put(ANN, SUBSCRIBER, greedy, written.revision)
    assert written.document.quota == more.quota
    with pytest.raises(Rejected, match="too_many: 4 destinations, at most 3"):
        await management.put(ANN, SUBSCRIBER, replace(greedy, destinations=[MAIL] * 4), written.revision)
    await management.put(ANN, RULE, LEVEL, 0)
    with pytest.raises(Rejected, match="too_many: you may have 1 rules"):
        await management.put(ANN, RULE, replace(LEVEL, rule_id="ann:low"), 0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"enabled": False}, "forbidden: operators switch subscribers on and off"),
        ({"destinations": [Destination(channel="console", address="x")]}, "forbidden: the console"),
        ({"destinations": [MAIL] * 11}, "too_many: 11 destinations, at most 10"),
    ],
)
async def test_some_things_of_a_subscriber_are_the_operators(
    management: Management, change: dict[str, Any], problem: str
) -> None:
    written = await management.put(OPERATOR, SUBSCRIBER, ANN_DOCUMENT, 0)
    with pytest.raises(Rejected, match=problem):
        await management.put(ANN, SUBSCRIBER, replace(ANN_DOCUMENT, **change), written.revision)


async def test_nobody_vouches_for_destinations_that_subscribers_write(management: Management) -> None:
    left = replace(MAIL, enabled=False)
    written = await management.put(OPERATOR, SUBSCRIBER, replace(ANN_DOCUMENT, destinations=[CHAT, left]), 0)
    new = Destination(channel="telegram", address="999999999")
    mine = replace(ANN_DOCUMENT, destinations=[new, CHAT, left])
    written = await management.put(ANN, SUBSCRIBER, mine, written.revision)
    assert [one.verified for one in written.document.destinations] == [False, True, True]
    mine = replace(ANN_DOCUMENT, destinations=[new, CHAT, MAIL])
    written = await management.put(ANN, SUBSCRIBER, mine, written.revision)
    assert [one.verified for one in written.document.destinations] == [False, True, False]
    vouched = await management.put(OPERATOR, SUBSCRIBER, mine, written.revision)
    assert all(one.verified for one in vouched.document.destinations)


async def test_subscribers_are_made_and_deleted_by_operators(management: Management) -> None:
    with pytest.raises(Rejected, match="not_found"):
        await management.put(ANN, SUBSCRIBER, ANN_DOCUMENT, 0)
    await management.put(OPERATOR, SUBSCRIBER, ANN_DOCUMENT, 0)
    with pytest.raises(Rejected, match="forbidden: operators delete subscribers"):
        await management.delete(ANN, SUBSCRIBER, "ann", 1)


async def test_a_document_that_no_reader_would_accept_is_not_written(management: Management) -> None:
    with pytest.raises(Rejected, match=r"invalid: .*level"):
        await management.put(OPERATOR, RULE, replace(LEVEL, level=float("nan")), 0)
    with pytest.raises(Rejected, match=r"invalid: .* bytes, at most"):
        await management.put(OPERATOR, RULE, replace(LEVEL, subscribers=["n" * 200] * 400), 0)


async def test_an_unreadable_document_can_be_replaced_by_operators(memory_bus: MemoryBus) -> None:
    management, _ = await managed(memory_bus)
    revision = await memory_bus.bucket(RULE.bucket).put(encode_token("ann:high"), b"{}")
    with pytest.raises(Rejected, match=f"invalid: revision {revision} of the rule 'ann:high' cannot be read"):
        await management.get(OPERATOR, RULE, "ann:high")
    assert (await management.put(OPERATOR, RULE, LEVEL, revision)).document == LEVEL


async def asking(bus: Bus) -> None:
    """The whole round over the endpoints."""
    found = await Managed.on(bus)
    async with found.served():
        made = await bus.request(
            asked.PUT,
            asked.PutRequest(
                actor=OPERATOR, kind="subscriber", id="ann", revision=0, document=json.loads(encode(ANN_DOCUMENT))
            ),
        )
        assert [one["hint"] for one in made.document["destinations"]] == ["…6789", "a…@example.org"]
        edited = made.document | {"name": "Ann B.", "destinations": made.document["destinations"][::-1]}
        put = asked.PutRequest(actor=ANN, kind="subscriber", id="ann", revision=made.revision, document=edited)
        await bus.request(asked.PUT, put)
        assert (await found.management.get(ANN, SUBSCRIBER, "ann")).document == replace(
            ANN_DOCUMENT, name="Ann B.", destinations=[MAIL, CHAT]
        )
        for number in range(3):
            draft = {"kind": "signal", "name": "n"}
            await bus.request(
                asked.PUT, asked.PutRequest(actor=ANN, kind="rule", id=f"ann:{number}", revision=0, document=draft)
            )
        page = await bus.request(asked.LIST, asked.ListRequest(actor=ANN, kind="rule", limit=2))
        assert ([one.id for one in page.items], page.next_after) == (["ann:0", "ann:1"], "ann:1")
        rest = await bus.request(asked.LIST, asked.ListRequest(actor=ANN, kind="rule", limit=2, after="ann:1"))
        assert ([one.id for one in rest.items], rest.next_after) == (["ann:2"], None)
        gone = await bus.request(
            asked.DELETE, asked.DeleteRequest(actor=ANN, kind="rule", id="ann:0", revision=page.items[0].revision)
        )
        assert gone.revision > rest.items[0].revision
        with pytest.raises(Rejected, match="not_found"):
            await bus.request(asked.GET, asked.GetRequest(actor=ANN, kind="rule", id="ann:0"))


async def test_the_endpoints_answer_in_memory(memory_bus: MemoryBus) -> None:
    await asking(memory_bus)


async def test_the_endpoints_answer_over_nats(jetstream_bus: JetStreamBus) -> None:
    await asking(jetstream_bus)


BAD_DRAFTS = [
    ({"kind": "smell"}, "kind"),
    ({"kind": "signal"}, "name"),
    ({"kind": "signal", "name": "n", "colour": "red"}, "colour"),
    ({"kind": "signal", "name": "n", "rule_id": "ann:other"}, "rule_id"),
    ({"kind": "price", "name": "n", "exchange": "b", "symbol": "s", "level": -1}, "level"),
    ({"kind": "price", "name": "n", "exchange": "b", "symbol": "s", "level": "high"}, "level"),
    ({"kind": "signal", "name": "n", "active_hours": {"start": "1", "end": "02:00"}}, "active_hours"),
    ({"kind": "signal", "name": "n", "severity": "loud"}, "severity"),
    ({"kind": "signal", "name": "n" * 201}, "name"),
    ({}, "kind"),
]


@pytest.mark.parametrize(("draft", "named"), BAD_DRAFTS)
async def test_bad_input_is_refused_by_its_field(memory_bus: MemoryBus, draft: dict[str, Any], named: str) -> None:
    async with (await Managed.on(memory_bus)).served():
        put = asked.PutRequest(actor=ANN, kind="rule", id="ann:x", revision=0, document=draft)
        with pytest.raises(Rejected, match=f"invalid: .*{named}"):
            await memory_bus.request(asked.PUT, put)


@pytest.mark.parametrize(
    "destination", [{"channel": "email"}, {"channel": "email", "place": 1}, {"channel": "discord", "place": 0}, 7]
)
async def test_a_destination_without_an_address_must_be_one_that_stands(
    memory_bus: MemoryBus, destination: Any
) -> None:
    management, _ = await managed(memory_bus)
    written = await management.put(OPERATOR, SUBSCRIBER, ANN_DOCUMENT, 0)
    async with (await Managed.on(memory_bus)).served():
        draft = {"name": "Ann", "destinations": [destination]}
        put = asked.PutRequest(actor=ANN, kind="subscriber", id="ann", revision=written.revision, document=draft)
        with pytest.raises(Rejected, match=r"invalid: .*destinations\[(0|\.\.\.)\]"):
            await memory_bus.request(asked.PUT, put)


@pytest.mark.parametrize(("role", "subscriber_id"), [("subscriber", ""), ("operator", "ann"), ("root", "")])
def test_an_actor_is_an_operator_or_a_subscriber(role: str, subscriber_id: str) -> None:
    actor = json.dumps({"role": role, "via": "x", "subscriber_id": subscriber_id})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(actor, type=Actor)
