"""Checks of the alert channels' credentials: a login each, and nothing is sent."""

from __future__ import annotations

import aiohttp
import aiosmtplib

from alerting.config import EmailSection, TelegramSection
from tocsin.doctor.finding import Finding


async def check_telegram(section: TelegramSection) -> Finding:
    """Does the Bot API know our token? The URL holds the token, so no error of the library is shown."""
    if section.token is None:
        return Finding("telegram", "not configured")
    url = f"{section.base_url.rstrip('/')}/bot{section.token.get_secret_value()}/getMe"
    timeout = aiohttp.ClientTimeout(total=section.timeout_s)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            answer = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        problem = f"{section.base_url} does not answer ({type(error).__name__})"
        return Finding("telegram", problem=problem, remedy="check the network, a proxy, and alerting.telegram.base_url")
    if isinstance(answer, dict) and answer.get("ok"):
        return Finding("telegram", f"the bot is @{answer.get('result', {}).get('username', '?')}")
    remedy = "ask @BotFather for the token and set it as alerting.telegram.token_file"
    return Finding("telegram", problem=f"the token is refused (HTTP {response.status})", remedy=remedy)


async def check_email(section: EmailSection) -> Finding:
    """Can we connect to the SMTP server, encrypted as configured, and log in?"""
    if section.host is None:
        return Finding("e-mail", "not configured")
    client = aiosmtplib.SMTP(
        hostname=section.host,
        port=section.port,
        username=section.user,
        password=section.password.get_secret_value() if section.password else None,
        timeout=section.timeout_s,
        use_tls=section.tls == "tls",
        start_tls=section.tls == "starttls",
    )
    server = f"{section.host}:{section.port}"
    try:
        async with client:
            login = f", logged in as {section.user}" if section.user else ""
            return Finding("e-mail", f"{server} answers ({section.tls}){login}")
    except aiosmtplib.SMTPAuthenticationError as error:
        remedy = "check alerting.email.user and password (many providers want an app password)"
        return Finding("e-mail", problem=f"{server} refuses the login (code {error.code})", remedy=remedy)
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        problem = f"{server} cannot be used ({type(error).__name__})"
        return Finding(
            "e-mail", problem=problem, remedy="check alerting.email.host, port and tls (starttls, tls or none)"
        )
