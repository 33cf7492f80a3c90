"""Pictures in messages: Telegram shows them above the text, mails inside it, and no picture ever costs a text."""

from __future__ import annotations

from email.message import EmailMessage

import pytest
from tests.channels import Fault, SmtpServer, TelegramServer

from alerting.channels import Message
from alerting.channels.email import Email, Server
from alerting.channels.telegram import CAPTION_MAX, UPLOADED_MAX, Telegram
from tocsin_common.documents import Destination
from tocsin_common.errors import Retryable

PICTURE = b"\x89PNG\r\n\x1a\n and what follows"
CHAT = Destination(channel="telegram", address="-4242")
INBOX = Destination(channel="email", address="ada@example.org")


def message(text: str = "It rose & fell.", picture: bytes | None = PICTURE) -> Message:
    return Message("d1", "a1", "Long <BTC/USDT>", text, {"Entry": "1,000"}, 0, picture)


def telegram(server: TelegramServer) -> Telegram:
    return Telegram(server.token, base_url=server.origin, timeout_s=5.0, connections=2)


async def test_telegram_shows_the_picture_with_the_text_as_its_caption() -> None:
    async with TelegramServer() as server:
        reference = (await telegram(server).send(message(), CHAT)).reference
        [photo] = server.accepted
        assert photo.raw["photo"] == PICTURE
        assert photo.text == "Long <BTC/USDT>\nIt rose & fell.\n\nEntry: 1,000"
        assert (photo.ref, photo.address) == (reference, "-4242")


async def test_a_picture_is_uploaded_once_however_many_chats_get_it() -> None:
    async with TelegramServer() as server:
        bot = telegram(server)
        for number in range(3):
            await bot.send(message(), Destination(channel="telegram", address=str(number)))
        await bot.send(message(picture=PICTURE + b"!"), CHAT)
        assert server.uploads == [PICTURE, PICTURE + b"!"]
        assert [accepted.raw["photo"] for accepted in server.accepted] == [PICTURE] * 3 + [PICTURE + b"!"]


async def test_the_ids_of_the_newest_pictures_are_kept() -> None:
    pictures = [PICTURE + bytes([number]) for number in range(UPLOADED_MAX + 1)]
    async with TelegramServer() as server:
        bot = telegram(server)
        for picture in (*pictures, pictures[-1], pictures[0]):
            await bot.send(message(picture=picture), CHAT)
        assert server.uploads == [*pictures, pictures[0]]


async def test_a_text_as_long_as_a_caption_may_be_is_one_and_a_longer_one_goes_without_the_picture() -> None:
    frame = len("Long <BTC/USDT>\n\n\nEntry: 1,000")
    async with TelegramServer() as server:
        for length in (CAPTION_MAX - frame, CAPTION_MAX - frame + 1):
            await telegram(server).send(message("&" * length), CHAT)
        assert ["photo" in accepted.raw for accepted in server.accepted] == [True, False]
        assert all("&" * (CAPTION_MAX - frame) in accepted.text for accepted in server.accepted)


async def test_where_photos_are_forbidden_the_text_is_sent_alone() -> None:
    async with TelegramServer(without_photos={"-4242"}) as server:
        await telegram(server).send(message(), CHAT)
        [text] = server.accepted
        assert "photo" not in text.raw
        assert "It rose & fell." in text.text


async def test_a_photo_that_telegram_cannot_read_does_not_cost_the_text() -> None:
    async with TelegramServer() as server:
        await telegram(server).send(message(picture=b"no picture"), CHAT)
        assert [accepted.text.splitlines()[1] for accepted in server.accepted] == ["It rose & fell."]


async def test_a_picture_follows_a_group_that_became_a_supergroup() -> None:
    async with TelegramServer(migrated={"-4242": -1004242}) as server:
        await telegram(server).send(message(), CHAT)
        assert [(accepted.address, "photo" in accepted.raw) for accepted in server.accepted] == [("-1004242", True)]


@pytest.mark.parametrize("fault", [Fault(after_accept=True), Fault(status=429, retry_after_s=3), Fault(status=500)])
async def test_a_photo_that_may_yet_arrive_is_not_followed_by_its_text(fault: Fault) -> None:
    async with TelegramServer() as server:
        server.faults.append(fault)
        with pytest.raises(Retryable):
            await telegram(server).send(message(), CHAT)
        assert server.requests == 1


async def test_a_mail_shows_the_picture_inside_its_page_beside_the_plain_text() -> None:
    async with SmtpServer() as server:
        email = Email(Server("127.0.0.1", server.port, "none", 2.0), sender="alerts@example.org")
        await email.send(message(), INBOX)
        await email.close()
        mail: EmailMessage = server.accepted[0].raw
    assert mail.get_content_type() == "multipart/alternative"
    plain, related = mail.iter_parts()
    assert [plain.get_content_type(), related.get_content_type()] == ["text/plain", "multipart/related"]
    assert isinstance(related, EmailMessage)
    page, picture = related.iter_parts()
    assert isinstance(page, EmailMessage)
    assert isinstance(picture, EmailMessage)
    assert picture.get_content_type() == "image/png"
    assert picture.get_content_disposition() == "inline"
    assert picture.get_content() == PICTURE
    assert f'src="cid:{picture["Content-ID"].strip("<>")}"' in page.get_content()
    assert 'alt="Long &lt;BTC/USDT&gt;"' in page.get_content()
    assert "Entry: 1,000" in plain.as_string()


async def test_a_mail_without_a_picture_refers_to_none() -> None:
    async with SmtpServer() as server:
        email = Email(Server("127.0.0.1", server.port, "none", 2.0), sender="alerts@example.org")
        await email.send(message(picture=None), INBOX)
        await email.close()
        mail: EmailMessage = server.accepted[0].raw
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert "cid:" not in mail.as_string()
