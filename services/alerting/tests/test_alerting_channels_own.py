"""What only one channel does: chats that block or move, the console's log, what a configuration opens."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import structlog
from tests.channels import DiscordServer, Fault, TelegramServer

from alerting.channels import HostBusy, Message
from alerting.channels.console import Console
from alerting.channels.discord import Discord
from alerting.channels.discord_limits import obeyed, rest_s
from alerting.channels.http import Answer, Outbound
from alerting.channels.open import open_channels
from alerting.channels.telegram import Telegram
from alerting.channels.text import cut, utf16_length
from alerting.channels.vapid import new_keys
from alerting.config import Settings
from tocsin_common.config import load
from tocsin_common.documents import Destination
from tocsin_common.errors import ConfigError, Rejected, Retryable
from tocsin_common.events import CHANNELS

CHAT = Destination(channel="telegram", address="-4242")


def message(**given: object) -> Message:
    fields = {"delivery_id": "d", "alert_id": "a", "title": "title", "text": "text", "fields": {}, "ts_ms": 0}
    return Message(**{**fields, **given})  # type: ignore[arg-type]  # test data by name


def telegram(server: TelegramServer) -> Telegram:
    return Telegram(server.token, base_url=server.origin + "/", timeout_s=5.0, connections=2)


async def test_a_chat_that_blocked_the_bot_is_rejected() -> None:
    async with TelegramServer() as server:
        server.faults.append(Fault(status=403))
        with pytest.raises(Rejected) as caught:
            await telegram(server).send(message(), CHAT)
        assert caught.value.reason == "forbidden"


async def test_a_group_that_became_a_supergroup_is_followed_once() -> None:
    async with TelegramServer(migrated={"-4242": -1004242}) as server:
        await telegram(server).send(message(), CHAT)
        assert [accepted.address for accepted in server.accepted] == ["-1004242"]
    async with TelegramServer(migrated={"-4242": -1, "-1": -2}) as server:
        with pytest.raises(Rejected) as caught:
            await telegram(server).send(message(), CHAT)
        assert caught.value.reason == "gone"


async def test_labels_are_bold_and_links_are_not_previewed() -> None:
    async with TelegramServer() as server:
        await telegram(server).send(message(fields={"Entry": "1"}), CHAT)
        assert server.accepted[0].text == "title\ntext\n\nEntry: 1"
        assert server.accepted[0].raw["text"] == "<b>title</b>\ntext\n\n<b>Entry</b>: 1"
        assert "is_disabled" in server.accepted[0].raw["link_preview_options"]


async def test_nobody_is_mentioned_on_discord() -> None:
    async with DiscordServer() as server:
        discord = Discord(Outbound(timeout_s=5.0, allow_private=True, connections=2))
        await discord.send(message(text="@everyone"), Destination(channel="discord", address=server.url))
        assert server.accepted[0].raw["allowed_mentions"] == {"parse": []}
        await discord.close()


@pytest.mark.parametrize(
    ("status", "body", "headers", "wait_s", "everybody"),
    [
        (429, {"retry_after": 0.65, "global": False}, {"Retry-After": "1"}, 0.65, False),
        (429, {"retry_after": 3.5, "global": True}, {}, 3.5, True),
        (429, {"retry_after": 3.5}, {"X-RateLimit-Global": "true"}, 3.5, True),
        (429, {"retry_after": 3.5}, {"X-RateLimit-Scope": "shared"}, 3.5, False),
        (429, {}, {"X-RateLimit-Reset-After": "1.25", "Retry-After": "2"}, 1.25, False),
        (429, "<html>1015</html>", {"Retry-After": "900"}, 900, True),  # the guards before Discord
        (429, "\ud83d", {"Retry-After": "soon"}, None, True),
        (429, {"retry_after": 1e308}, {}, 24 * 3600, False),
        (429, {"retry_after": "now"}, {"Retry-After": "-3"}, 0, True),
        (200, {"id": "1"}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "0.4"}, 0.4, False),
        (200, {"id": "1"}, {"X-RateLimit-Remaining": "1", "X-RateLimit-Reset-After": "0.4"}, 0, False),
        (200, {"id": "1"}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "nan"}, 0, False),
        (200, {"id": "1"}, {"X-RateLimit-Remaining": "0"}, 0, False),
    ],
)
def test_what_discord_says_of_limits_is_read(
    status: int, body: object, headers: dict[str, str], wait_s: float | None, everybody: bool
) -> None:
    raw = body.encode(errors="surrogatepass") if isinstance(body, str) else json.dumps(body).encode()
    answer = Answer(status, raw, headers)
    if status == 200:
        obeyed(answer)
        assert rest_s(headers) == wait_s
        return
    with pytest.raises(Retryable) as told:
        obeyed(answer)
    assert (told.value.reason, told.value.retry_after_s) == ("rate_limited", wait_s)
    assert isinstance(told.value, HostBusy) == everybody


async def test_the_console_logs_one_event() -> None:
    with structlog.testing.capture_logs() as logs:
        await Console().send(message(fields={"Entry": "1"}), Destination(channel="console", address="x"))
    [line] = logs
    assert (line["event"], line["title"], line["fields"]) == ("alert", "title", {"Entry": "1"})


async def test_a_console_nobody_would_see_is_no_delivery() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        with pytest.raises(Rejected) as caught:
            await Console().send(message(), Destination(channel="console", address="x"))
    finally:
        structlog.reset_defaults()
    assert caught.value.reason == "console_off"


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 50])
@pytest.mark.parametrize("text", ["", "abc", "abcdef", "\N{BELL}\N{BELL}\N{BELL}", "a\N{BELL}b"])
def test_a_cut_keeps_the_limit_and_whole_characters(text: str, limit: int) -> None:
    assert utf16_length(cut(text, limit)) <= limit
    assert cut(text, 50) == text
    cut(text, limit).encode()


async def test_without_credentials_there_is_no_telegram_and_no_email() -> None:
    assert set(open_channels(load(Settings, environ={}).alerting)) == {"console", "discord", "webhook", "apprise"}


async def test_with_credentials_there_are_all_channels(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("1:SECRET\n")
    config = tmp_path / "tocsin.yaml"
    (tmp_path / "key").write_text(new_keys().private)
    config.write_text(
        f"alerting: {{telegram: {{token_file: {tmp_path / 'token'}}}, email: {{host: mail, sender: 'a@example.org'}},"
        f" webpush: {{vapid_key_file: {tmp_path / 'key'}, contact: 'mailto:ops@example.org'}}}}"
    )
    settings = load(Settings, path=config, environ={}).alerting
    assert set(open_channels(settings)) == set(CHANNELS)
    assert "SECRET" not in repr(settings)


def test_a_wrong_configuration_names_every_key(tmp_path: Path) -> None:
    config = tmp_path / "tocsin.yaml"
    config.write_text("alerting: {email: {host: mail, user: me}, delivery: {ttl_s: 0}, webhook: {allow: true}}")
    with pytest.raises(ConfigError) as caught:
        load(Settings, path=config, environ={})
    said = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    for key in ("alerting.email", "alerting.delivery.ttl_s", "alerting.webhook.allow"):
        assert key in said
