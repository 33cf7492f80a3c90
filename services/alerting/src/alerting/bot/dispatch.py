"""One update's way: handled before? whose turn? which command, and may they? Then the record, then the answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import structlog

from alerting.bot.answers import Answer, Button, Refusal, plain
from alerting.bot.api import BotApi
from alerting.bot.asked import Asked
from alerting.bot.desk import Desk
from alerting.bot.ledger import Ledger, Verdict
from alerting.bot.metrics import BotMetrics
from alerting.bot.pace import Pace, Turn
from alerting.bot.phrases import Phrases, phrases, spoken
from alerting.bot.question import Command, Question
from alerting.bot.seals import Seals
from alerting.channels import Ambiguous
from alerting.gateway import Away
from alerting.reasons import Refused
from alerting.sending.gate import Permit
from alerting.sending.gates import Gates
from alerting.sending.rates import NO_CHAT
from tocsin_common.errors import Rejected, Retryable, Unreachable
from tocsin_common.events import BotState

log = structlog.get_logger()

HANDLE_S = 6.0
"""No command takes longer to find its answer: less than a stopping service is given."""

SENDS = 3
"""Requests for one answer, where Telegram surely did not take the ones before."""

WAIT_MAX_S = 5.0
"""Told to wait longer, an answer is given up: a person has stopped waiting for it too."""

RETRY_S = 0.5

UNKNOWN, TEXT, BUTTON = "unknown", "text", "button"
"""Commands that are none, in records and metrics."""


MANAGED: Mapping[str, str] = {
    Refused.CONFLICT: "rules.conflict",
    Refused.NOT_FOUND: "rules.gone",
    Refused.TOO_MANY: "rules.limit",
}
"""What is said where the management refuses, by its reason."""


Outgoing = tuple[str, Callable[[], Awaitable[None]]]
"""A request and whose pace it keeps: a chat's, or that of all chats."""


@dataclass(frozen=True, slots=True)
class Commands:
    """By name: of messages, and of buttons."""

    typed: Mapping[str, Command]
    pressed: Mapping[str, Command]


@dataclass(frozen=True, slots=True)
class Request:
    """`command` None: there is none; `name` is then UNKNOWN, TEXT or BUTTON."""

    name: str
    rest: str
    command: Command | None


class Dispatch:
    """Handles one bot's updates."""

    def __init__(
        self,
        api: BotApi,
        ledger: Ledger,
        desk: Desk,
        seals: Seals,
        commands: Commands,
        metrics: BotMetrics,
        gates: Gates,
    ) -> None:
        self._api = api
        self._ledger = ledger
        self._desk = desk
        self._seals = seals
        self._commands = commands
        self._metrics = metrics
        self._gates = gates
        self._pace = Pace(desk.settings.answers_per_minute)

    async def handle(self, asked: Asked) -> None:
        """Answer one update, once. Raises Unreachable: it is not recorded, and must come again."""
        request = self._wanted(asked)
        if request.command is None and not asked.private and asked.press is None:
            return  # what people in a group say to each other, or to other bots, is not even recorded
        if await self._ledger.handled(asked.update_id):
            return
        verdict, answer = await self._answered(asked, request)
        requests = self._requests(asked, answer) if answer else deque()
        permit = await self._permit(requests)
        state: BotState = "done" if answer is None else "answering"
        opened = await self._ledger.open(asked, self._desk.identity.pseudonym(asked.person), verdict, state)
        if opened is None:
            return
        if answer is not None:
            state, reason = await self._send(requests, permit)
            entry = await self._ledger.close(*opened, state, reason)
            self._metrics.answer_seconds.observe(entry.took_ms / 1000)
        self._metrics.asked.labels(verdict.command, verdict.outcome).inc()
        self._metrics.answers.labels(state).inc()
        log.info("bot asked", command=verdict.command, outcome=verdict.outcome, reason=verdict.reason, state=state)

    def _wanted(self, asked: Asked) -> Request:
        """What an update asks for. Names are ours: what people invent does not get into records."""
        if asked.press is not None:
            payload = self._seals.opened(asked.press.data, asked.person.user_id)
            name, _, rest = (payload or "").partition(":")
            return Request(BUTTON, rest, self._commands.pressed.get(name))
        found = asked.command(self._desk.username)
        if found is None:
            return Request(TEXT, "", None)
        name, rest = found
        command = self._commands.typed.get(name)
        return Request(name, rest, command) if command else Request(UNKNOWN, name, None)

    async def _answered(self, asked: Asked, request: Request) -> tuple[Verdict, Answer | None]:
        """What is to be recorded, and what to be said (None: nothing)."""
        subscriber = self._desk.identity.subscriber(asked.person)
        verdict = Verdict(request.name, subscriber_id=subscriber.subscriber_id if subscriber else "")
        say = phrases(subscriber.language) if subscriber else spoken(asked.person.language)
        turn = self._pace.turn(asked.person.user_id, self._desk.clock_ms())
        if turn is not Turn.YES:
            verdict = replace(verdict, outcome="refused", reason="too_many")
            return verdict, said(asked, say("say.too_many")) if turn is Turn.TOO_MANY else None
        operator = self._desk.identity.operates(asked.person)
        question = Question(asked, request.name, request.rest, say, subscriber, operator)
        try:
            async with asyncio.timeout(HANDLE_S):
                return verdict, await admitted(question, request.command, self._desk).run(question, self._desk)
        except Refusal as refusal:
            return replace(verdict, outcome="refused", reason=refusal.reason), said(asked, refusal.text)
        except Rejected as error:
            return replace(verdict, outcome="refused", reason=error.reason), said(asked, why_not(say, error))
        except (Away, Unreachable) as error:
            reason, text = getattr(error, "reason", "unreachable"), say("say.away")
        except TimeoutError:
            reason, text = "too_slow", say("say.too_slow")
        except Exception as error:  # a mistake of ours must not keep the others from being answered
            log.error("command failed", command=request.name, exc_info=error)
            reason, text = "mistake", say("say.mistake")
        return replace(verdict, outcome="failed", reason=reason), said(asked, text)

    async def _permit(self, requests: deque[Outgoing]) -> Permit | None:
        """One for the first request, before anything is recorded: a crash until then leaves no doubt. None: far off.

        Raises Unreachable.
        """
        with suppress(Retryable):
            return await self._gates.permit("telegram", requests[0][0]) if requests else None
        return None

    async def _send(self, requests: deque[Outgoing], permit: Permit | None) -> tuple[BotState, str]:
        """An answer's requests, repeated only where Telegram surely did not take them; its state and reason."""
        for left in reversed(range(SENDS)):
            try:
                while requests:
                    first, permit = permit, None
                    await self._gates.ask("telegram", *requests[0], first)
                    requests.popleft()
                return "answered", ""
            except Ambiguous as error:
                return "unknown", error.reason
            except Rejected as error:
                return "failed", error.reason
            except Retryable as error:
                wait_s = RETRY_S if error.retry_after_s is None else error.retry_after_s
                if not left or wait_s > WAIT_MAX_S:
                    return "failed", error.reason
                await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    def _requests(self, asked: Asked, answer: Answer) -> deque[Outgoing]:
        """What says an answer, one after the other, each with the chat whose pace it keeps: a toast is in none."""
        press, chat = asked.press, asked.chat_id
        rows = tuple(tuple(self._sealed(key, asked.person.user_id) for key in row) for row in answer.buttons)
        answer = replace(answer, buttons=rows)
        requests: deque[Outgoing] = deque()
        if press is None or answer.picture is not None:
            requests.append((str(chat), partial(self._api.send, chat, answer)))
        elif answer.text:
            requests.append((str(chat), partial(self._api.edit, chat, press.message_id, answer)))
        if press is not None:
            requests.append((NO_CHAT, partial(self._api.toast, press.callback_id, answer.toast)))
        return requests

    def _sealed(self, key: Button, user_id: int) -> Button:
        return replace(key, data=self._seals.seal(key.data, user_id)) if key.data else key


def admitted(question: Question, command: Command | None, desk: Desk) -> Command:
    """The command, where the one who asks may have it carried out here. Raises Refusal."""
    if command is None:
        match question.name:
            case "button":
                raise question.refuse("stale_button", "say.stale_button")
            case "text":
                raise question.refuse("text", "say.only_commands")
        raise question.refuse("unknown_command", "say.unknown_command", command=question.rest[:32])
    if command.who == "operator" and not question.operator:
        raise question.refuse("operators_only", "say.operators_only")
    if not question.asked.private and not command.anywhere:
        raise question.refuse("private_only", "say.private_only")
    known = question.subscriber is not None or (question.operator and command.anywhere)
    if command.who == "subscriber" and not known:
        raise question.refuse("stranger", "say.stranger", how=desk.how_to_begin(question.say))
    return command


def why_not(say: Phrases, error: Rejected) -> str:
    """Why the management did not do it."""
    key = MANAGED.get(error.reason)
    return say(key) if key else say("rules.refused", problem=error)


def said(asked: Asked, text: str) -> Answer:
    """Below a button it is shown for a moment; the message stays as it is."""
    return Answer(text) if asked.press is None else Answer(toast=plain(text))
