"""The doctor tells what is wrong and what helps, and never a secret."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP

from alerting.config import EmailSection, TelegramSection
from tocsin.doctor import machine
from tocsin.doctor.channels import check_email, check_telegram
from tocsin.doctor.finding import Finding
from tocsin.doctor.nats import check_nats
from tocsin.doctor.postgresql import check_postgres
from tocsin_common.bus import provision
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.config import NatsSection

TOKEN = "12345:right"


@pytest.fixture
async def bot_api() -> AsyncIterator[str]:
    """A server that knows one bot."""

    async def get_me(request: web.Request) -> web.Response:
        if request.path == f"/bot{TOKEN}/getMe":
            return web.json_response({"ok": True, "result": {"id": 12345, "is_bot": True, "username": "tocsin_bot"}})
        return web.json_response({"ok": False, "error_code": 401, "description": "Unauthorized"}, status=401)

    app = web.Application()
    app.router.add_get("/{path:.*}", get_me)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def everything_said(finding: Finding) -> str:
    return f"{finding.detail} {finding.problem} {finding.remedy}"


async def test_a_right_telegram_token_names_its_bot(bot_api: str) -> None:
    finding = await check_telegram(TelegramSection(token=TOKEN, base_url=bot_api))
    assert finding.ok
    assert "@tocsin_bot" in finding.detail


@pytest.mark.parametrize("where", ["refused", "unreachable"])
async def test_a_telegram_problem_never_shows_the_token(bot_api: str, where: str) -> None:
    base_url = bot_api if where == "refused" else "http://127.0.0.1:1"
    finding = await check_telegram(TelegramSection(token="12345:wrong", base_url=base_url))
    assert not finding.ok
    assert finding.remedy
    assert "wrong" not in everything_said(finding)


async def test_a_mail_server_that_answers_is_well() -> None:
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(Sink()), "127.0.0.1", 0)
    async with server:
        mail = {
            "host": "127.0.0.1",
            "port": server.sockets[0].getsockname()[1],
            "sender": "a@example.org",
            "tls": "none",
        }
        assert (await check_email(EmailSection(**mail))).ok
        finding = await check_email(EmailSection(**mail, user="me", password="hush"))
        assert not finding.ok
        assert "hush" not in everything_said(finding)


async def test_a_mail_server_that_is_not_there_is_named() -> None:
    section = EmailSection(host="127.0.0.1", port=1, sender="tocsin@example.org", tls="none")
    finding = await check_email(section)
    assert "127.0.0.1:1" in finding.problem
    assert finding.remedy


async def test_channels_that_are_not_configured_are_no_problem() -> None:
    assert (await check_telegram(TelegramSection())).ok
    assert (await check_email(EmailSection())).ok


async def test_a_nats_server_without_streams_gets_its_remedy(nats_url: str, jetstream_bus: JetStreamBus) -> None:
    await provision.wipe(jetstream_bus.connection, provision.declared())
    findings = {finding.subject: finding for finding in await check_nats(NatsSection(url=nats_url), None)}
    assert findings["nats"].ok
    assert findings["jetstream"].ok
    assert "tocsin streams apply" in findings["streams"].remedy


async def test_a_database_without_tables_gets_its_remedy(postgres_url: str) -> None:
    findings = {finding.subject: finding for finding in await check_postgres(postgres_url)}
    assert findings["postgresql"].ok
    assert findings["clock"].ok
    assert findings["migrations"].remedy == "run: tocsin migrate"


@pytest.mark.parametrize(
    ("theirs_ms", "well"), [(10_000.0, True), (10_900.0, True), (11_500.0, False), (8_000.0, False)]
)
def test_a_clock_is_wrong_beyond_a_second(theirs_ms: float, well: bool) -> None:
    finding = machine.check_clock("NATS", 9_990.0, theirs_ms, 10_010.0)
    assert finding.ok is well
    assert ("NTP" in finding.remedy) is not well


def test_a_slow_answer_does_not_blame_the_clock() -> None:
    assert machine.check_clock("NATS", 0.0, 0.0, 3_000.0).ok


def test_the_disk_is_looked_at_where_the_data_will_be(tmp_path: Path) -> None:
    assert str(tmp_path) in everything_said(machine.check_disk(tmp_path / "not" / "there" / "yet"))
