"""What a command is given: who asks what, in which language, and what to answer from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from alerting.bot.answers import Answer, Refusal
from alerting.bot.asked import Asked
from alerting.bot.desk import Desk
from alerting.bot.phrases import Phrases
from alerting.words.voice import Voice
from tocsin_common.documents import Subscriber
from tocsin_common.requests.management import Actor

VIA = "telegram"
"""How changes that come by the bot are recorded."""

OPERATOR = Actor(role="operator", via=VIA)


@dataclass(frozen=True, slots=True)
class Question:
    """`rest` is what follows the command, or what the button carried; `subscriber` None: a stranger asks."""

    asked: Asked
    name: str
    rest: str
    say: Phrases
    subscriber: Subscriber | None
    operator: bool

    @property
    def words(self) -> list[str]:
        return self.rest.split()

    @property
    def own(self) -> Subscriber:
        """The subscriber who asks; commands for strangers too look at `subscriber`."""
        assert self.subscriber is not None
        return self.subscriber

    @property
    def voice(self) -> Voice:
        """How moments and lengths of time are told."""
        return Voice.of(self.subscriber) if self.subscriber else Voice(self.say.language)

    @property
    def actor(self) -> Actor:
        """The one who asks, as the management knows them."""
        return Actor(role="subscriber", subscriber_id=self.own.subscriber_id, via=VIA)

    def refuse(self, reason: str, key: str, **values: object) -> Refusal:
        """What to raise instead of an answer."""
        return Refusal(reason, self.say(key, **values))


Run = Callable[[Question, Desk], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Command:
    """`who` may use it; `anywhere`: also where others read the answer, because it tells nothing of the one who asks."""

    run: Run
    who: Literal["anyone", "subscriber", "operator"] = "subscriber"
    anywhere: bool = False
