"""Why did somebody (not) get this? One verdict for each rule and subscriber, with the events that prove it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec

from alerting.directory import Directory
from alerting.kinds import RULE, SILENCE
from alerting.reasons import Refused
from alerting.why.causes import Cause, Causes, words_of
from alerting.why.sentences import Settings, of_delivery, of_suppression
from alerting.why.stories import Stated, Story, by_delivery, deliveries_to, ids_of_alert, told_apart
from alerting.why.unmatched import unmatched
from alerting.why.whereabouts import REMEMBERED, Whereabouts
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.errors import Rejected
from tocsin_common.events import AlertSuppressed, DeliveryChanged, Event
from tocsin_common.requests.management import Evidence, Outcome, Verdict, WhyReply, WhyRequest
from tocsin_common.streams import ALERTS

MAX_VERDICTS = 100

MOST_SAID: tuple[Outcome, ...] = ("under_way", "sent", "uncertain", "not_sent")
"""Of several deliveries to one subscriber, which counts."""


@dataclass(frozen=True, slots=True)
class Asked:
    """About what, and for whom: `whom` None is everybody. `private`: others are none of the asker's business."""

    whom: str | None
    private: bool


class Why:
    """Answers from ALERTS and DELIVERIES; what is set now only helps to say it."""

    def __init__(self, bus: Bus, directory: Directory) -> None:
        self._bus, self._directory = bus, directory
        self._alerts, self._causes = Whereabouts(bus, ALERTS, ids_of_alert), Causes(bus)

    async def answer(self, question: WhyRequest) -> WhyReply:
        """Raises Rejected when nothing is known of the id, or nothing that is the actor's business."""
        wanted, whom = question.id, question.actor.subscriber_id or question.subscriber_id or None
        steps = await by_delivery(self._bus, wanted)
        if steps:
            delivered = steps[0].event
            if whom not in (None, delivered.subscriber_id):
                raise _nothing_known(wanted)
            wanted, whom = delivered.alert_id, delivered.subscriber_id
        asked = Asked(whom, private=not question.actor.is_operator)
        stories = told_apart(await self._alerts.messages(wanted))
        cause = await self._causes.find(stories[0].cause_id if stories else wanted)
        verdicts: list[Verdict] = []
        for story in stories:
            verdicts += [one async for one in self._of_story(story, cause, asked) if len(verdicts) < MAX_VERDICTS]
        if cause is not None and cause.event.event_id == wanted:
            stated = {verdict.rule_id for verdict in verdicts}
            verdicts += await unmatched(self._bus, self._directory, cause, stated, whom)
        if not verdicts and steps and not stories:
            verdicts = [_alone(steps)]
        if not verdicts:
            raise _nothing_known(question.id)
        return WhyReply(id=question.id, about=_about(stories, cause), verdicts=verdicts[:MAX_VERDICTS])

    async def _of_story(self, story: Story, cause: Cause | None, asked: Asked) -> AsyncIterator[Verdict]:
        """A verdict for each of those who are asked about and who were told, or spared."""
        everybody = story.of_everybody()
        for name in self._people(story, asked):
            spared = everybody or (story.of(name) if name else None)
            if spared is not None:
                yield self._spared(story, spared, name)
            elif name is not None:
                yield await self._told(story, cause, name, asked)

    def _people(self, story: Story, asked: Asked) -> Sequence[str | None]:
        """Those whom a story is about; None: nobody in particular."""
        rule = self._directory.held(RULE).get(story.rule_id)
        people = story.named() or (rule.document.subscribers if rule else [])
        if asked.whom is None:
            return people or [None]
        return [asked.whom] if asked.whom in people else []

    def _spared(self, story: Story, spared: Stated[AlertSuppressed], name: str | None) -> Verdict:
        silence = self._directory.held(SILENCE).get(spared.event.silence_id)
        rule = self._directory.held(RULE).get(story.rule_id)
        settings = Settings(
            rule=rule.document if rule else None,
            subscriber=self._directory.subscribers.get(name or ""),
            silence=silence.document if silence else None,
        )
        sentence = of_suppression(spared.event, name or "anybody", settings)
        return _verdict(story, name, "not_sent", sentence, [_evidence(spared.message, spared.event)])

    async def _told(self, story: Story, cause: Cause | None, name: str, asked: Asked) -> Verdict:
        assert story.raised is not None
        known = self._directory.subscribers.get(name)
        found = await deliveries_to(self._bus, story.alert_id, name, known)
        began, since = (
            (cause.message.stored_ms, words_of(cause)) if cause else (story.raised.message.stored_ms, "alert")
        )
        alert = msgspec.structs.replace(story.raised.event, subscribers=[name]) if asked.private else story.raised.event
        evidence = [_evidence(story.raised.message, alert)]
        if not found:
            sentence = f"Not sent to {name}: no delivery was opened, there was no destination left for it."
            return _verdict(story, name, "not_sent", sentence, evidence)
        became = [of_delivery([step.event for step in steps], began, since) for steps in found]
        evidence += [_evidence(step.message, step.event) for steps in found for step in steps]
        outcome = min((outcome for outcome, _ in became), key=MOST_SAID.index)
        return _verdict(story, name, outcome, f"{name}: {'; '.join(text for _, text in became)}.", evidence)


def _verdict(story: Story, name: str | None, outcome: Outcome, sentence: str, evidence: list[Evidence]) -> Verdict:
    return Verdict(
        subscriber_id=name,
        rule_id=story.rule_id,
        alert_id=story.alert_id,
        outcome=outcome,
        sentence=sentence,
        evidence=evidence,
    )


def _alone(steps: Sequence[Stated[DeliveryChanged]]) -> Verdict:
    """Of a delivery that is of no alert: of a digest."""
    first = steps[0].event
    outcome, text = of_delivery([step.event for step in steps], first.at_ms, "first of its alerts was due")
    return _verdict(
        Story(first.alert_id, "", ""),
        first.subscriber_id,
        outcome,
        f"{first.subscriber_id}: {text}.",
        [_evidence(step.message, step.event) for step in steps],
    )


def _evidence(message: Received, event: Event) -> Evidence:
    return Evidence(
        stream=message.stream, seq=message.seq, stored_ms=message.stored_ms, event=msgspec.to_builtins(event)
    )


def _about(stories: Sequence[Story], cause: Cause | None) -> str:
    if cause is not None:
        return cause.title
    if not stories:
        return "a digest of several alerts"
    titles = [story.raised.event.title for story in stories if isinstance(story.raised, Stated)]
    return titles[0] if titles else f"what the rule {stories[0].rule_id} matched"


def _nothing_known(wanted: str) -> Rejected:
    detail = f"nothing is stored of {wanted!r} among the newest {REMEMBERED:,} messages, or nothing for you"
    return Rejected(Refused.NOT_FOUND, detail)
