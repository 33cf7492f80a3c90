"""Mails: encrypted or not at all, one Message-ID per delivery, connections used again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.channels import SmtpServer, self_signed

from alerting.channels import Message
from alerting.channels.email import Email, Server, compose
from alerting.links import Links
from alerting.words.voice import Voice
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected, Retryable

INBOX = Destination(channel="email", address="ada@example.org")
SENDER = "Tocsin Alerts <alerts@example.org>"


def message(delivery_id: str = "delivery1", title: str = "Long BTC/USDT") -> Message:
    return Message(delivery_id, "alert1", title, "Some text.", {"Entry": "1,000", "Stop": "900"}, 1_723_161_300_000)


async def test_starttls_is_used_and_the_certificate_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, trusted = self_signed(tmp_path)
    async with SmtpServer(tls=context, user="u", password="p") as server:
        smtp = Server("127.0.0.1", server.port, "starttls", 2.0, "u", "p")
        stranger = Email(smtp, sender=SENDER)
        with pytest.raises(Retryable) as caught:
            await stranger.send(message(), INBOX)
        assert caught.value.reason == "connection_failed"
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        email = Email(smtp, sender=SENDER)
        await email.send(message(), INBOX)
        assert len(server.accepted) == 1
        await email.close()


async def test_tls_from_the_start_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, trusted = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    async with SmtpServer(tls=context, implicit_tls=True) as server:
        email = Email(Server("127.0.0.1", server.port, "tls", 2.0), sender=SENDER)
        await email.send(message(), INBOX)
        assert len(server.accepted) == 1
        await email.close()


async def test_without_starttls_on_the_server_nothing_is_sent_in_clear() -> None:
    async with SmtpServer() as server:
        email = Email(Server("127.0.0.1", server.port, "starttls", 2.0), sender=SENDER)
        with pytest.raises(Rejected) as caught:
            await email.send(message(), INBOX)
        assert caught.value.reason == "tls_unavailable"
        assert not server.accepted


async def test_one_delivery_has_one_message_id_however_often_it_is_sent() -> None:
    async with SmtpServer() as server:
        email = Email(Server("127.0.0.1", server.port, "none", 2.0), sender=SENDER)
        for delivery_id in ("one", "one", "two"):
            await email.send(message(delivery_id), INBOX)
        assert [mail.key for mail in server.accepted] == ["<one@example.org>", "<one@example.org>", "<two@example.org>"]
        await email.close()


async def test_mails_one_after_another_go_over_one_connection() -> None:
    async with SmtpServer() as server:
        email = Email(Server("127.0.0.1", server.port, "none", 2.0), sender=SENDER)
        for number in range(5):
            await email.send(message(str(number)), INBOX)
        assert server.connections == 1
        await email.close()


async def test_a_connection_the_server_closed_meanwhile_is_not_used_again() -> None:
    async with SmtpServer() as server:
        email = Email(Server("127.0.0.1", server.port, "none", 2.0), sender=SENDER)
        await email.send(message("1"), INBOX)
        await server.drop_connections()
        await email.send(message("2"), INBOX)
        assert len(server.accepted) == 2
        await email.close()


async def test_every_mail_can_be_unsubscribed_with_one_click_byte_for_byte() -> None:
    links = Links("https://alerts.example.org/tocsin", "k" * 32)
    long = replace(message(), subscriber_id="somebody with a long id " * 7, voice=Voice("id"))
    url = links.unsubscribe(long.subscriber_id, INBOX)
    async with SmtpServer() as server:
        email = Email(Server("127.0.0.1", server.port, "none", 2.0), sender=SENDER, links=links)
        for _ in range(2):
            await email.send(long, INBOX)
        await email.close()
    assert len(url) > 200
    for wire, mail in zip(server.wire, server.accepted, strict=True):
        assert f"\r\nList-Unsubscribe: <{url}>\r\n".encode() in wire
        assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in wire
        assert max(map(len, wire.split(b"\r\n"))) <= 998
        assert f"Berhenti berlangganan: {url}" in mail.text
        assert f'href="{url}"' in mail.raw.get_body(("html",)).get_content()
    assert server.accepted[0].key == server.accepted[1].key


async def test_without_a_public_address_there_is_no_link() -> None:
    async with SmtpServer() as server:
        email = Email(Server("127.0.0.1", server.port, "none", 2.0), sender=SENDER)
        await email.send(message(), INBOX)
        await email.close()
        assert b"nsubscribe" not in server.wire[0]


@pytest.mark.parametrize(
    "address",
    ["", "ada", "ada@", "@example.org", "ada@example.org, eve@example.org", "ada@example.org\nBcc: eve@x.org"],
)
def test_only_one_plain_address_is_a_recipient(address: str) -> None:
    with pytest.raises(Rejected) as caught:
        compose(message(), sender=SENDER, recipient=address)
    assert caught.value.reason == "bad_address"


def test_a_mail_reads_well_as_text_and_as_html() -> None:
    mail = compose(message(title="Long BTC/USDT \N{BELL}"), sender=SENDER, recipient="ada@example.org")
    text, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert page is not None
    assert text.get_content() == "Some text.\n\nEntry: 1,000\nStop:  900\n"
    assert ">Long BTC/USDT \N{BELL}</h1>" in page.get_content()
    assert mail["Subject"] == "Long BTC/USDT \N{BELL}"
    assert mail["From"] == SENDER
