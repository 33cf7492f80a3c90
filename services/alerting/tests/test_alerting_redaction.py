"""What is shown of addresses: enough to recognise one's own, and nothing that would be of use to anybody else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.management.redaction import destinations, hint, shown
from tocsin_common.documents import Destination, Subscriber
from tocsin_common.events import CHANNELS, ChannelName

CORPUS: list[tuple[ChannelName, str, str]] = [
    ("telegram", "123456789", "…6789"),
    ("telegram", "-1001234567890", "…7890"),
    ("telegram", "12345", "…"),
    ("telegram", "@ann", "…"),
    ("email", "ann.smith@example.org", "a…@example.org"),
    ("email", '"a@b"@example.org', '"…@example.org'),
    ("email", "nobody", "…"),
    ("email", "@example.org", "…"),
    ("discord", "https://discord.com/api/webhooks/123/s3cr3t", "discord.com"),
    ("webhook", "https://ann:s3cr3t@hooks.example.org:8443/s3cr3t?token=s3cr3t#s3cr3t", "hooks.example.org"),
    ("webhook", "https://[2001:db8::1]/s3cr3t", "2001:db8::1"),
    ("webhook", "https://[broken/s3cr3t", "…"),
    ("webhook", "s3cr3t", "…"),
    ("webpush", "https://push.example.org/s3cr3t", "push.example.org"),
    ("apprise", "slack://s3cr3t/s3cr3t/s3cr3t", "slack://…"),
    ("apprise", "s3cr3t", "…"),
    ("console", "s3cr3t", "…"),
]


@pytest.mark.parametrize(("channel", "address", "expected"), CORPUS)
def test_a_hint_is_enough_for_the_one_who_knows(channel: ChannelName, address: str, expected: str) -> None:
    assert hint(Destination(channel=channel, address=address)) == expected


tokens = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=12, max_size=40).map("s3cr3t".__add__)
"""None is a word that stands in the document anyway."""


@given(st.sampled_from(CHANNELS), tokens, tokens)
def test_no_secret_is_shown_whatever_the_address(channel: ChannelName, token: str, secret: str) -> None:
    address = f"{token}@x.test" if channel == "email" else f"https://u:{token}@x.test/{token}?k={token}"
    ann = Subscriber(
        subscriber_id="ann", name="Ann", destinations=[Destination(channel=channel, address=address, secret=secret)]
    )
    text = json.dumps(shown(ann))
    assert token not in text
    assert secret not in text


def test_a_destination_has_the_number_it_is_kept_by() -> None:
    chats = [Destination(channel="telegram", address=f"12345678{n}") for n in range(2)]
    mail = Destination(channel="email", address="a@example.org")
    ann = Subscriber(subscriber_id="ann", name="Ann", destinations=[chats[0], mail, chats[1]])
    assert [(one["channel"], one["place"]) for one in destinations(ann)] == [
        ("telegram", 0),
        ("email", 0),
        ("telegram", 1),
    ]
