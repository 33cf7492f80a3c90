"""The endpoints that the doors ask: to request a confirmation, to confirm, to unsubscribe."""

from __future__ import annotations

from contextlib import AsyncExitStack

from alerting.verification.core import Verification
from alerting.verification.leaving import Leaving
from alerting.words.voice import Voice
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Subscriber
from tocsin_common.requests import verification as asked
from tocsin_common.requests.verification import (
    ConfirmRequest,
    LinkReply,
    UnsubscribeRequest,
    VerifyReply,
    VerifyRequest,
)


class Doorway:
    """Answers in the language of whoever is asked about."""

    def __init__(self, verification: Verification, leaving: Leaving) -> None:
        self._verification, self._leaving = verification, leaving

    async def verify(self, question: VerifyRequest) -> VerifyReply:
        """Ask a destination whether it wants alerts."""
        verification, at = self._verification, question
        return await verification.ask(at.actor, at.subscriber_id, at.channel, at.place)

    async def confirm(self, question: ConfirmRequest) -> LinkReply:
        """Confirm the destination of a code, or say what would be confirmed."""
        act = self._verification.confirm if question.act else self._verification.look
        return _said("confirm", await act(question.token), done=question.act)

    async def unsubscribe(self, question: UnsubscribeRequest) -> LinkReply:
        """Unsubscribe the destination of a token, or say what would be unsubscribed."""
        act = self._leaving.leave if question.act else self._leaving.look
        return _said("unsubscribe", await act(question.token), done=question.act)


async def serve(stack: AsyncExitStack, bus: Bus, verification: Verification, leaving: Leaving) -> None:
    """Answer for as long as `stack` lives."""
    doorway = Doorway(verification, leaving)
    await stack.enter_async_context(bus.serve(asked.VERIFY, doorway.verify))
    await stack.enter_async_context(bus.serve(asked.CONFIRM, doorway.confirm))
    await stack.enter_async_context(bus.serve(asked.UNSUBSCRIBE, doorway.unsubscribe))


def _said(about: str, subscriber: Subscriber, *, done: bool) -> LinkReply:
    say = Voice.of(subscriber).say
    if done:
        return LinkReply(
            language=subscriber.language, title=say(f"{about}.done_title"), text=say(f"{about}.done_text"), button=""
        )
    return LinkReply(
        language=subscriber.language,
        title=say(f"{about}.title"),
        text=say(f"{about}.text"),
        button=say(f"{about}.button"),
    )
