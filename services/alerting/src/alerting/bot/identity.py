"""Who asks: a subscriber by their private chat, an operator by their user id, and a pseudonym for the record."""

from __future__ import annotations

from collections.abc import Mapping, Set

from alerting.bot.asked import Person
from tocsin_common.documents import Destination, Subscriber
from tocsin_common.ids import derive


class Identity:
    """`subscribers` is kept current by its owner. A private chat has the number of the person it is with."""

    def __init__(self, token: str, subscribers: Mapping[str, Subscriber], operators: Set[int]) -> None:
        self._token = token
        self._subscribers = subscribers
        self._operators = operators

    def pseudonym(self, person: Person) -> str:
        """The same for the same person, and nobody who has not the token can tell whose it is."""
        return derive("telegram user", self._token, person.user_id)

    def subscriber(self, person: Person) -> Subscriber | None:
        """Whose verified destination the private chat with this person is; of several, the first by id."""
        chat = str(person.user_id)
        found = (one for one in self._subscribers.values() if reaches(one, chat))
        return min(found, key=lambda one: one.subscriber_id, default=None)

    def operates(self, person: Person) -> bool:
        return person.user_id in self._operators

    def own_id(self, person: Person) -> str:
        """The id of the subscriber that a person becomes by themselves: it is derived, so they become it once."""
        return f"telegram-{self.pseudonym(person)}"


def reaches(subscriber: Subscriber, chat: str) -> bool:
    """Whether a private chat is a subscriber's: they proved it, or an operator vouched for it."""
    return any(is_chat(one, chat) and one.verified for one in subscriber.destinations)


def is_chat(destination: Destination, chat: str) -> bool:
    return destination.channel == "telegram" and destination.address == chat
