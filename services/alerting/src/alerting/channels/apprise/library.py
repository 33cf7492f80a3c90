"""Apprise, as far as one message through one service goes. It blocks: for threads only."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Set

from apprise import Apprise, AppriseAsset, NotifyFormat, PersistentStoreMode
from apprise.plugins import NotifyBase, url_to_dict

from alerting.channels import Message
from alerting.channels.apprise.asking import Requests
from alerting.channels.letter import plain
from alerting.channels.text import cut, utf16_length
from alerting.reasons import Undelivered
from tocsin_common.errors import Rejected

TITLE_MAX = 200
BODY_BYTES_MAX = 4_000
"""As JSON in ASCII, which is what services count that have a limit of bytes."""

READS_FILES = frozenset({"attach", "config", "template"})
"""What some services find in an address and open as a file."""

NO_RETRIES = {"retry": 0, "wait": 0}
"""Retries are ours: each attempt has an entry in the ledger."""

READ_MARKUP = frozenset(
    [
        "gchat",
        "matrix",
        "matrixs",
        "mmost",
        "mmosts",
        "nctalk",
        "nctalks",
        "rocket",
        "rockets",
        "webex",
        "workflows",
        "zulip",
    ]
)
"""Services that look for mentions and links in a text, whatever is said of its format; the library escapes Slack's."""

MENTION_OR_LINK = re.compile(r"@(?=[\w*])|\](?=\()|<(?=users/)")
WORD_JOINER = "\N{WORD JOINER}"

REQUESTS = Requests()


def load() -> None:
    """Load the services, once, and have them log nothing: addresses and tokens are part of what they log."""
    for name in ("apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    url_to_dict("ntfy://tocsin")


def notify(address: str, message: Message, services: Set[str]) -> bool:
    """Whether the service took it. Raises Rejected for an address that makes no sense, or is not allowed."""
    asset = AppriseAsset(
        app_id="Tocsin",
        app_desc="Tocsin",
        async_mode=False,
        storage_mode=PersistentStoreMode.MEMORY,
        service_timeout=0,
        pgp_autogen=False,
        pem_autogen=False,
    )
    service = service_at(address, services, asset)
    library = Apprise(asset=asset)
    library.add(service)
    scheme = address.partition("://")[0].lower()
    title, body = fitting(message, service, inert if scheme in READ_MARKUP else str)
    return bool(library.notify(body, title, body_format=NotifyFormat.TEXT))


def service_at(address: str, services: Set[str], asset: AppriseAsset | None = None) -> NotifyBase:
    """The service behind an address, asking by our requests. Raises Rejected."""
    parsed = url_to_dict(address, secure_logging=True)
    if parsed is None:
        raise Rejected(Undelivered.BAD_ADDRESS, "not an Apprise URL")
    if parsed["schema"] not in services or READS_FILES & parsed.get("qsd", {}).keys():
        raise Rejected(Undelivered.FORBIDDEN_ADDRESS, "an Apprise URL of another service, or one that names a file")
    service = Apprise.instantiate(parsed | NO_RETRIES, asset=asset)
    if service is None:
        raise Rejected(Undelivered.BAD_ADDRESS, "something is missing in the Apprise URL, or wrong")
    service.request_rate_per_sec = 0  # no sleeps between receivers: who asks too often is told to wait
    vars(sys.modules[type(service).__module__])["requests"] = REQUESTS
    return service


def inert(text: str) -> str:
    """The text with a sign that is not seen where chats would find a mention of everybody, or a link that looks like
    another."""
    return MENTION_OR_LINK.sub(lambda found: found[0] + WORD_JOINER, text)


def fitting(message: Message, service: NotifyBase, said: Callable[[str], str] = str) -> tuple[str, str]:
    """Title and text, as they are `said`, within what a service takes, cut as every channel cuts them."""
    title = cut(said(message.title), min(TITLE_MAX, service.title_maxlen or TITLE_MAX))
    text = said(plain(message).strip())
    room = service.body_maxlen - (0 if service.title_maxlen else utf16_length(title) + len("\r\n"))
    units = min(utf16_length(text), room)
    while (size := len(json.dumps(kept := cut(text, units)))) > BODY_BYTES_MAX:
        units = min(units - 1, units * BODY_BYTES_MAX // size)
    return title, kept
