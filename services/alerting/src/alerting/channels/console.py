"""The console: an alert as one line of the service's log."""

from __future__ import annotations

import logging
from typing import Any

import structlog

from alerting.channels import Message, Sent
from alerting.reasons import Undelivered
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected

log = structlog.get_logger()


class Console:
    """Writes the event `alert` at level info."""

    dedupes = False

    async def send(self, message: Message, destination: Destination) -> Sent:
        """Raises Rejected when the log's level would swallow the line."""
        if not log.is_enabled_for(logging.INFO):
            raise Rejected(Undelivered.CONSOLE_OFF, "the log level is above info")
        log.info("alert", title=message.title, text=message.text, delivery_id=message.delivery_id, **_plain(message))
        return Sent()

    async def close(self) -> None:
        """Nothing to close."""


def _plain(message: Message) -> dict[str, Any]:
    answers = {"in_reply_to": message.answers.delivery_id} if message.answers else {}
    return {"fields": dict(message.fields), **answers}
