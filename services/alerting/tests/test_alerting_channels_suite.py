"""The suite every remote channel passes, against a local server that speaks the real protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import socket
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import msgspec
import pytest
from tests.channels import (
    WEB_PAGE,
    Accepted,
    DiscordServer,
    Fault,
    NtfyServer,
    PushServer,
    Recorder,
    SmtpServer,
    TelegramServer,
    WebhookServer,
)
from tests.channels.seen import SEEN
from tests.hostile import CORPUS, flat, shows
from tests.names import NO_ANSWER, NO_SUCH_NAME, PORT_VARIABLE, SERVER_FAILURE, NameServer, getaddrinfo

from alerting.channels import Ambiguous, Channel, Message, Original, Sent
from alerting.channels.apprise.channel import Apprise
from alerting.channels.apprise.services import SERVICES
from alerting.channels.discord import Discord
from alerting.channels.email import Email, Server
from alerting.channels.http import Outbound
from alerting.channels.telegram import Telegram
from alerting.channels.vapid import new_keys, signing_key
from alerting.channels.webhook import Webhook
from alerting.channels.webpush import WebPush
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected, Retryable

TELEGRAM_TOKEN = "987654:SECRET-telegram-token"
DISCORD_TOKEN = "SECRET-discord-token"
SMTP_PASSWORD = "SECRET-smtp-password"
WEBHOOK_SECRET = "whsec_U0VDUkVULXdlYmhvb2sta2V5LWJ5dGVz"
PUSH_ENDPOINT = "SECRET-push-endpoint"
NTFY_TOKEN = "tk_SECRETntfytoken"
SECRETS = (TELEGRAM_TOKEN, DISCORD_TOKEN, SMTP_PASSWORD, WEBHOOK_SECRET, PUSH_ENDPOINT, NTFY_TOKEN)
VAPID = new_keys()
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)
PATIENT_S, IMPATIENT_S = 10.0, 0.2
MESSAGE = Message(
    delivery_id="d" * 26,
    alert_id="a" * 26,
    title="Long BTC/USDT, 1h: EMA cross",
    text="EMA 12 crossed above EMA 26. Price is above the 200 trend.",
    fields={"Entry": "64,123.5", "Stop": "63,000 (-1.75 %)", "Rule": "my rule"},
    ts_ms=1_723_161_300_000,
)


@dataclass
class Rig:
    """A channel, the server it reaches, and where to. `open` makes another, impatient one or with wrong credentials."""

    name: str
    server: Recorder
    destination: Destination
    wrong_destination: Destination
    make: Callable[[float, bool], Channel]
    opened: list[Channel] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.channel = self.open()

    def open(self, timeout_s: float = PATIENT_S, *, right: bool = True) -> Channel:
        self.opened.append(self.make(timeout_s, right))
        return self.opened[-1]


@asynccontextmanager
async def telegram_rig() -> AsyncIterator[Rig]:
    async with TelegramServer(token=TELEGRAM_TOKEN) as server:

        def make(timeout_s: float, right: bool) -> Telegram:
            token = TELEGRAM_TOKEN if right else "1:wrong"
            return Telegram(token, base_url=server.origin, timeout_s=timeout_s, connections=8)

        chat = Destination(channel="telegram", address="4242424242")
        yield Rig("telegram", server, chat, chat, make)


@asynccontextmanager
async def discord_rig() -> AsyncIterator[Rig]:
    async with DiscordServer(token=DISCORD_TOKEN) as server:

        def make(timeout_s: float, _right: bool) -> Discord:
            return Discord(Outbound(timeout_s=timeout_s, allow_private=True, connections=8))

        right = Destination(channel="discord", address=server.url)
        wrong = Destination(channel="discord", address=server.url.replace(DISCORD_TOKEN, "wrong"))
        yield Rig("discord", server, right, wrong, make)


@asynccontextmanager
async def email_rig() -> AsyncIterator[Rig]:
    async with SmtpServer(user="tocsin", password=SMTP_PASSWORD) as server:

        def make(timeout_s: float, right: bool) -> Email:
            password = SMTP_PASSWORD if right else "wrong"
            smtp = Server(server.host, server.port, "none", timeout_s, "tocsin", password)
            return Email(smtp, sender="Tocsin <alerts@example.org>")

        inbox = Destination(channel="email", address="ada@example.org")
        yield Rig("email", server, inbox, inbox, make)


@asynccontextmanager
async def webhook_rig() -> AsyncIterator[Rig]:
    async with WebhookServer(secret=WEBHOOK_SECRET) as server:

        def make(timeout_s: float, _right: bool) -> Webhook:
            return Webhook(Outbound(timeout_s=timeout_s, allow_private=True, connections=8))

        right = Destination(channel="webhook", address=server.url, secret=WEBHOOK_SECRET)
        wrong = Destination(channel="webhook", address=server.url, secret="whsec_d3Jvbmc=")
        yield Rig("webhook", server, right, wrong, make)


@asynccontextmanager
async def webpush_rig() -> AsyncIterator[Rig]:
    async with PushServer(vapid_public=VAPID.public, path=f"/push/{PUSH_ENDPOINT}") as server:

        def make(timeout_s: float, right: bool) -> WebPush:
            outbound = Outbound(timeout_s=timeout_s, allow_private=True, connections=8)
            return WebPush(outbound, signing_key((VAPID if right else new_keys()).private), "mailto:ops@example.org")

        browser = Destination(channel="webpush", address=server.url, secret=server.keys)
        yield Rig("webpush", server, browser, browser, make)


@asynccontextmanager
async def apprise_rig() -> AsyncIterator[Rig]:
    async with NtfyServer(token=NTFY_TOKEN) as server:

        def make(timeout_s: float, _right: bool) -> Apprise:
            return Apprise(services=SERVICES, timeout_s=timeout_s, workers=8, allow_private=True)

        right = Destination(channel="apprise", address=server.url)
        wrong = Destination(channel="apprise", address=server.url.replace(NTFY_TOKEN, "tk_wrong"))
        yield Rig("apprise", server, right, wrong, make)


RIGS: dict[str, Callable[[], AbstractAsyncContextManager[Rig]]] = {
    "telegram": telegram_rig,
    "discord": discord_rig,
    "email": email_rig,
    "webhook": webhook_rig,
    "webpush": webpush_rig,
    "apprise": apprise_rig,
}


SILENCE: dict[str, Callable[[Accepted], bool]] = {
    "telegram": lambda accepted: accepted.raw.get("disable_notification") in (True, "true"),
    "discord": lambda accepted: accepted.raw.get("flags") == 4096,
    "email": lambda accepted: "silent" in accepted.text,
    "apprise": lambda accepted: "silent" in accepted.text,
    "webhook": lambda accepted: accepted.raw["data"]["silent"],
    "webpush": lambda accepted: (accepted.headers["Urgency"], accepted.raw["silent"]) == ("low", True),
}
"""Whether what was accepted asks for silence."""


def answered(accepted: Accepted) -> object:
    """What Telegram was asked to answer."""
    asked = accepted.raw.get("reply_parameters")
    return json.loads(asked) if isinstance(asked, str) else asked


ANSWERS: dict[str, Callable[[Accepted, Original], bool]] = {
    "telegram": lambda accepted, original: (
        answered(accepted) == {"message_id": int(original.reference), "allow_sending_without_reply": True}
    ),
    "discord": lambda accepted, original: (
        accepted.raw["embeds"][0].get("url") == f"https://discord.com/channels/7/1/{original.reference}"
    ),
    "email": lambda accepted, original: (
        [accepted.raw["In-Reply-To"], accepted.raw["References"]] == [f"<{original.delivery_id}@example.org>"] * 2
    ),
    "apprise": lambda accepted, original: original.delivery_id in str(accepted.raw),
    "webhook": lambda accepted, original: accepted.raw["data"]["in_reply_to"] == original.delivery_id,
    "webpush": lambda accepted, original: (
        accepted.headers["Topic"] == accepted.raw["tag"] == original.delivery_id != accepted.raw["delivery_id"]
    ),
}
"""Whether what was accepted is an answer to the original."""


@pytest.fixture(params=RIGS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with RIGS[request.param]() as rig:
        yield rig
        for channel in rig.opened:
            await channel.close()


@pytest.fixture(params=[None, PICTURE], ids=["text", "picture"])
def message(request: pytest.FixtureRequest) -> Message:
    return replace(MESSAGE, picture=request.param)


async def failure(rig: Rig, message: Message) -> Retryable | Rejected:
    with pytest.raises((Retryable, Rejected)) as caught:
        await rig.channel.send(message, rig.destination)
    assert isinstance(caught.value, Retryable | Rejected)
    return caught.value


async def test_a_message_arrives_with_title_text_and_fields(rig: Rig, message: Message) -> None:
    await rig.channel.send(message, rig.destination)
    text = rig.server.accepted[0].text
    assert message.title in text
    assert message.text in text
    for name, value in message.fields.items():
        assert any(name in line and value in line for line in text.splitlines())


async def test_a_silent_message_makes_no_sound_where_the_channel_knows_silence(rig: Rig, message: Message) -> None:
    for silent in (False, True):
        await rig.channel.send(replace(message, delivery_id=f"d{silent}", silent=silent), rig.destination)
    assert [SILENCE[rig.name](accepted) for accepted in rig.server.accepted] == [
        False,
        rig.name not in ("email", "apprise"),
    ]


async def test_news_answer_the_message_that_they_are_news_of(rig: Rig, message: Message) -> None:
    original = Original(
        "o" * 26, (await rig.channel.send(replace(message, delivery_id="o" * 26), rig.destination)).reference
    )
    await rig.channel.send(replace(message, answers=original), rig.destination)
    found = [ANSWERS[rig.name](accepted, original) for accepted in rig.server.accepted]
    assert found == [False, rig.name != "apprise"]


async def test_a_message_arrives_also_where_its_original_makes_no_sense(rig: Rig, message: Message) -> None:
    await rig.channel.send(replace(message, answers=Original("o" * 26, "\N{BELL} ")), rig.destination)
    assert message.title in rig.server.accepted[0].text


async def test_a_channel_says_nothing_of_its_own(rig: Rig, message: Message) -> None:
    """What it adds would have to be said in the reader's language."""
    foreign = replace(message, title="\N{BELL} 1", text="\N{BELL} 2", fields={"\N{BELL} 3": "\N{BELL} 4"})
    await rig.channel.send(foreign, rig.destination)
    assert not re.findall("[A-Za-z]+", rig.server.accepted[0].text)


async def test_the_receivers_own_id_is_given_back(rig: Rig, message: Message) -> None:
    reference = (await rig.channel.send(message, rig.destination)).reference
    assert rig.server.accepted[0].ref in reference


async def test_many_messages_at_once_all_arrive_once(rig: Rig, message: Message) -> None:
    messages = [replace(message, delivery_id=f"d{n:025}", title=f"alert number {n}") for n in range(20)]
    await asyncio.gather(*(rig.channel.send(each, rig.destination) for each in messages))
    titles = sorted(accepted.text.splitlines()[0] for accepted in rig.server.accepted)
    assert titles == sorted(each.title for each in messages)


async def test_rate_limited_with_a_time_to_wait_is_retryable_after_that_time(rig: Rig, message: Message) -> None:
    rig.server.faults.append(Fault(status=429, retry_after_s=7))
    error = await failure(rig, message)
    assert isinstance(error, Retryable)
    assert not isinstance(error, Ambiguous)
    if rig.name != "email":  # SMTP has no way to say when
        assert error.reason == "rate_limited"
        assert error.retry_after_s == 7


async def test_rate_limited_without_a_time_leaves_the_wait_to_the_caller(rig: Rig, message: Message) -> None:
    rig.server.faults.append(Fault(status=429))
    error = await failure(rig, message)
    assert isinstance(error, Retryable)
    assert not isinstance(error, Ambiguous)
    assert error.retry_after_s is None


async def test_a_server_error_is_retryable(rig: Rig, message: Message) -> None:
    rig.server.faults.append(Fault(status=503))
    error = await failure(rig, message)
    assert isinstance(error, Retryable)
    assert not isinstance(error, Ambiguous)
    assert error.reason == "server_error"


async def test_a_web_page_with_a_server_error_is_retryable(rig: Rig, message: Message) -> None:
    rig.server.faults.append(Fault(status=502, page=WEB_PAGE))
    assert isinstance(await failure(rig, message), Retryable)


@pytest.mark.parametrize("page", [WEB_PAGE, b'{"id": "\xff"}', b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"])
async def test_anything_else_instead_of_an_answer_is_no_proof_of_delivery(
    rig: Rig, message: Message, page: bytes
) -> None:
    rig.server.faults.append(Fault(page=page))
    if rig.name in ("webhook", "webpush", "apprise"):  # any 2xx is a delivery, whatever the body
        assert await rig.channel.send(message, rig.destination) == Sent()
    else:
        error = await failure(rig, message)
        assert isinstance(error, Ambiguous)
        assert error.reason == "bad_reply"


async def test_a_server_that_never_answers_is_given_up_in_time_and_in_doubt(rig: Rig, message: Message) -> None:
    rig.server.faults.append(Fault(hang=True))
    rig.channel = rig.open(IMPATIENT_S)
    error = await failure(rig, message)
    assert isinstance(error, Ambiguous)
    assert error.reason == "timeout"


async def test_a_connection_cut_after_acceptance_leaves_doubt(rig: Rig, message: Message) -> None:
    rig.server.faults.append(Fault(after_accept=True))
    error = await failure(rig, message)
    assert isinstance(error, Ambiguous)
    assert len(rig.server.accepted) == 1


async def test_a_connection_cut_before_the_answer_leaves_doubt_too(rig: Rig, message: Message) -> None:
    rig.server.faults.append(Fault(reset=True))
    assert isinstance(await failure(rig, message), Ambiguous)


async def test_a_server_that_is_not_there_is_retryable_without_doubt(rig: Rig, message: Message) -> None:
    await rig.server.__aexit__()
    error = await failure(rig, message)
    assert isinstance(error, Retryable)
    assert not isinstance(error, Ambiguous)
    assert error.reason == "connection_failed"


async def test_a_name_that_cannot_be_looked_up_is_retryable_without_doubt(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.server.host = "receiver.test"
    rig.channel = rig.open(IMPATIENT_S)
    address = rig.destination.address.replace("127.0.0.1", rig.server.host)
    rig.destination = msgspec.structs.replace(rig.destination, address=address)
    mistakes = [NO_SUCH_NAME, SERVER_FAILURE]
    if rig.name != "apprise":  # its library does not tell a name server that is late from a receiver that is
        mistakes.append(NO_ANSWER)
    async with NameServer() as names:
        monkeypatch.setenv(PORT_VARIABLE, str(names.port))
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        names.faults[rig.server.host].extend(mistakes)
        for _ in mistakes:
            error = await failure(rig, MESSAGE)
            assert isinstance(error, Retryable)
            assert not isinstance(error, Ambiguous)
            assert error.reason == "connection_failed"
        rig.channel = rig.open()
        await rig.channel.send(MESSAGE, rig.destination)
    assert names.asked == {rig.server.host: len(mistakes) + 1}
    assert [accepted.text.splitlines()[0] for accepted in rig.server.accepted] == [MESSAGE.title]


async def test_a_failure_does_not_spoil_the_next_message(rig: Rig, message: Message) -> None:
    rig.server.faults.extend([Fault(status=503), Fault(reset=True), Fault(page=WEB_PAGE, status=502)])
    for _ in range(3):
        await failure(rig, message)
    await rig.channel.send(message, rig.destination)
    assert len(rig.server.accepted) == 1


async def test_wrong_credentials_are_rejected(rig: Rig, message: Message) -> None:
    with pytest.raises(Rejected) as caught:
        await rig.open(right=False).send(message, rig.wrong_destination)
    assert caught.value.reason == "unauthorized"
    assert not rig.server.accepted


@pytest.mark.parametrize("symbol", ["x", "\N{BELL}", "&", "*", "<b>"])
async def test_text_beyond_every_limit_still_arrives_and_says_that_it_was_cut(
    rig: Rig, message: Message, symbol: str
) -> None:
    long = replace(
        message, title=symbol * 500, text=symbol * 200_000, fields={f"{symbol}{n}": symbol * 2_000 for n in range(30)}
    )
    await rig.channel.send(long, rig.destination)
    text = rig.server.accepted[0].text
    assert symbol * 100 in text
    assert rig.name == "webhook" or "\N{HORIZONTAL ELLIPSIS}" in text


@pytest.mark.parametrize("message", [None], indirect=True, ids=["text"])
async def test_whatever_anybody_wrote_shows_as_text_in_every_place(rig: Rig, message: Message) -> None:
    """What is seen is what was written, no less and no more: nothing acts, nothing is added, nothing breaks out."""
    for number, (given, text) in enumerate(CORPUS.items()):
        fields = {f"label {given}": given, "last": "one"}
        hostile = replace(message, delivery_id=f"d{number:025}", title=f"title {given}", text=given, fields=fields)
        await rig.channel.send(hostile, rig.destination)
        accepted = rig.server.accepted[-1]
        labels = {flat(f"label {text}"): flat(text), "last": "one"}
        for seen in SEEN[rig.name](accepted, labels):
            assert shows(seen.title, flat(f"title {text}"))
            assert shows(seen.text, text)
            for label, value in seen.fields.items():
                assert [one for one in labels if shows(label, one) and shows(value, labels[one])], (label, value)
        assert accepted.headers.keys() == rig.server.accepted[0].headers.keys()
        assert accepted.address == rig.server.accepted[0].address
    assert len(rig.server.accepted) == len(CORPUS)


async def test_secrets_show_neither_in_logs_nor_in_errors(
    rig: Rig, message: Message, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    rig.server.faults.extend(
        [
            Fault(status=429),
            Fault(status=500),
            Fault(page=WEB_PAGE),
            Fault(reset=True),
            Fault(status=404),
            Fault(hang=True),
        ]
    )
    said = []
    with caplog.at_level(logging.DEBUG):
        for channel in (*[rig.channel] * 5, rig.open(IMPATIENT_S)):
            with suppress(Retryable, Rejected):
                await channel.send(message, rig.destination)
        rig.server.always = Fault(status=400)
        said.append(str(await failure(rig, message)))
        await rig.server.__aexit__()
        error = await failure(rig, message)
        said += [str(error), repr(error), "".join(traceback.format_exception(error)), repr(rig.channel)]
    said += [caplog.text, *capfd.readouterr()]
    for secret in (*SECRETS, "ada@example.org", "4242424242"):
        assert secret not in "\n".join(said)
