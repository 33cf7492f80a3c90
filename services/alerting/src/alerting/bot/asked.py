"""What a person asks: a message, or a button below one of the bot's own. Hostile until a command has checked it."""

from __future__ import annotations

from dataclasses import dataclass

TEXT_MAX = 4096
"""Characters of a message that are looked at: as many as Telegram lets anybody write."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks. `user_id` is Telegram's word; `name` and `language` are whatever they chose."""

    user_id: int
    name: str
    language: str


@dataclass(frozen=True, slots=True)
class Press:
    """A button that was pressed below message `message_id`; `data` is what it carried, or what somebody made up. `text`
    is what the message said, which is the bot's own."""

    callback_id: str
    message_id: int
    data: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One update. `said_ms` is when it was said (a press: when it was received); `private`: nobody else reads it."""

    update_id: int
    person: Person
    chat_id: int
    private: bool
    said_ms: int
    received_ms: int
    text: str = ""
    press: Press | None = None

    def command(self, username: str) -> tuple[str, str] | None:
        """Command and rest of a message such as `/price BTC/USDT`; None: it is none, or is another bot's."""
        if not self.text.startswith("/"):
            return None
        head, _, rest = self.text[1:].partition(" ") if " " in self.text else self.text[1:].partition("\n")
        name, _, addressed = head.partition("@")
        if addressed and addressed.lower() != username.lower():
            return None
        return name.lower(), rest.strip()
