"""Web push beyond the suite: what a browser can be told, keys, signatures."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.channels import Fault, PushServer

from alerting.channels import Message
from alerting.channels.http import Outbound
from alerting.channels.text import shown
from alerting.channels.vapid import new_keys, public_key, signing_key
from alerting.channels.webpush import PLAIN_MAX, WebPush, payload
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected

KEYS = new_keys()


def message(title: str = "Long", text: str = "", fields: dict[str, str] | None = None) -> Message:
    return Message(delivery_id="d" * 26, alert_id="a" * 26, title=title, text=text, fields=fields or {}, ts_ms=1)


def channel(allow_private: bool = True) -> WebPush:
    outbound = Outbound(timeout_s=5, allow_private=allow_private, connections=2)
    return WebPush(outbound, signing_key(KEYS.private), "mailto:ops@example.org")


anything = st.text(max_size=5_000)


@given(title=anything, text=anything, fields=st.dictionaries(anything, anything, max_size=5))
def test_whatever_is_said_fits_and_its_beginning_is_there(title: str, text: str, fields: dict[str, str]) -> None:
    plain = payload(message(title, text, fields))
    assert len(plain) <= PLAIN_MAX
    body = msgspec.json.decode(plain)["body"]
    assert body == shown(text) or shown(text).startswith(body.removesuffix("\N{HORIZONTAL ELLIPSIS}"))


def test_fields_are_told_as_far_as_there_is_room() -> None:
    told = msgspec.json.decode(payload(message(text="x" * 9_000, fields={f"f{n}": "y" * 290 for n in range(20)})))
    assert 3 <= len(told["fields"]) < 20


def test_a_key_that_is_none_is_refused_without_being_shown() -> None:
    for wrong in ("", "SECRET", KEYS.private[:20], "-----BEGIN EC PRIVATE KEY-----"):
        with pytest.raises(ValueError, match="tocsin push-keys") as caught:
            signing_key(wrong)
        assert "SECRET" not in str(caught.value)


def test_the_public_half_belongs_to_the_private_one() -> None:
    assert public_key(signing_key(KEYS.private)) == KEYS.public


async def test_a_browser_that_unsubscribed_is_not_pushed_again() -> None:
    push = channel()
    async with PushServer(vapid_public=KEYS.public) as server:
        server.faults.append(Fault(status=410))
        with pytest.raises(Rejected) as caught:
            await push.send(message(), Destination(channel="webpush", address=server.url, secret=server.keys))
        assert caught.value.reason == "gone"
    await push.close()


async def test_a_copy_takes_the_place_of_the_first_one() -> None:
    push = channel()
    async with PushServer(vapid_public=KEYS.public) as server:
        for _ in range(2):
            await push.send(message(), Destination(channel="webpush", address=server.url, secret=server.keys))
        assert server.topics == {"d" * 26: 2}
    await push.close()


@pytest.mark.parametrize("secret", ["", "one", "a b c", "not-a-point c2l4dGVlbiBieXRlcyBvaw", "\N{BELL} \N{BELL}"])
async def test_keys_that_no_browser_made_are_refused(secret: str) -> None:
    push = channel()
    with pytest.raises(Rejected) as caught:
        await push.send(message(), Destination(channel="webpush", address="https://push.example/x", secret=secret))
    assert caught.value.reason == "bad_secret"
    await push.close()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1/x", "https://[::ffff:169.254.169.254]/x", "nonsense", ""])
async def test_an_endpoint_in_our_own_network_is_not_called(endpoint: str) -> None:
    push = channel(allow_private=False)
    async with PushServer() as browser:
        with pytest.raises(Rejected):
            await push.send(message(), Destination(channel="webpush", address=endpoint, secret=browser.keys))
    await push.close()
