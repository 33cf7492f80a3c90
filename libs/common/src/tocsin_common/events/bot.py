"""Facts about the Telegram bot: what it was asked, and what became of the answer."""

from __future__ import annotations

from typing import Literal

from tocsin_common import subjects
from tocsin_common.events.event import Event
from tocsin_common.ids import derive

BotState = Literal["done", "answering", "answered", "failed", "unknown"]
BotOutcome = Literal["ok", "refused", "failed"]


class BotAsked(Event, frozen=True, kw_only=True, tag="bot.v1"):
    """One update of the bot's was handled; its subject is the update's ledger.

    `done`: there is nothing to answer. `answering` stands there before the answer is sent, then `answered`; `failed`:
    Telegram did not take it; `unknown`: it may have. `who` is a pseudonym of the person that only this bot's token
    can tell; `subscriber_id` is empty for a stranger. `command` is one of the bot's own, `button`, `text` or `unknown`.
    `outcome` is of the command, `reason` explains what was not `ok`. `at_ms` is our clock, `took_ms` counts from the
    moment the update was received.
    """

    bot: str
    update_id: int
    state: BotState
    who: str
    subscriber_id: str
    chat: Literal["private", "group"]
    command: str
    outcome: BotOutcome
    at_ms: int
    took_ms: int
    reason: str = ""

    @property
    def subject(self) -> str:
        return subjects.bot_update(self.bot, self.update_id)

    @property
    def event_id(self) -> str:
        return derive("bot", self.bot, self.update_id, self.state)
