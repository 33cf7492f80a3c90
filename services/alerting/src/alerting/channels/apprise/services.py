"""The services of Apprise that may be used.

Each speaks HTTP by the library `requests` and nothing else, and runs, reads or shows nothing on this machine; a test
holds them to that. So no address decides what is done here, and `asking` has all that goes out in hand.
"""

from __future__ import annotations

from typing import Literal, get_args

Service = Literal[
    "bulksms",
    "clicksend",
    "gchat",
    "gotify",
    "gotifys",
    "hassio",
    "hassios",
    "line",
    "matrix",
    "matrixs",
    "mmost",
    "mmosts",
    "msgbird",
    "nctalk",
    "nctalks",
    "ntfy",
    "ntfys",
    "opsgenie",
    "pagerduty",
    "pover",
    "prowl",
    "pushy",
    "rocket",
    "rockets",
    "signal",
    "signals",
    "sinch",
    "slack",
    "threema",
    "twilio",
    "vonage",
    "webex",
    "whatsapp",
    "workflows",
    "zulip",
]
"""By the schemes of their addresses (`slack://...`). Where two differ in an `s`, the one with it goes by https."""

SERVICES: tuple[Service, ...] = get_args(Service)
