"""Why did somebody (not) get this? One verdict for each rule and subscriber, with the events that prove it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from alerting.directory import Directory
from alerting.gateway import Gateway
from alerting.kinds import RULE
from alerting.management.permissions import may_see
from alerting.reasons import Refused
from alerting.why.archive import Archive
from alerting.why.causes import Cause, Causes
from alerting.why.present import Present
from alerting.why.stories import Stated, Story, by_delivery, deliveries_to, ids_of_alert, speaks_of, told_apart
from alerting.why.telling import Asked, Telling, evidence_of
from alerting.why.unmatched import Unmatched
from alerting.why.whereabouts import REMEMBERED, Whereabouts
from alerting.words.voice import RECORD, Voice
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.documents import AlertRule
from tocsin_common.errors import Rejected
from tocsin_common.events import AlertKind, DeliveryChanged
from tocsin_common.requests.management import Actor, Verdict, WhyReply, WhyRequest
from tocsin_common.streams import ALERTS
from tocsin_common.subjects import alert_suppressed, alerts_raised_by

MAX_VERDICTS = 100


class Why:
    """Answers from ALERTS and DELIVERIES; what is set now only helps to say it. Subscribers are answered in their
    language, operators as alerts are recorded."""

    def __init__(
        self,
        bus: Bus,
        directory: Directory,
        gateway: Gateway,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._bus, self._directory, self._now_ms = bus, directory, clock_ms
        self._archive = Archive(bus, gateway)
        self._alerts, self._causes = Whereabouts(bus, ALERTS, ids_of_alert), Causes(bus, self._archive)

    async def answer(self, question: WhyRequest) -> WhyReply:
        """Raises Rejected when nothing is known of the id, or nothing that is the actor's business."""
        wanted, actor = question.id, question.actor
        asked = Asked(actor.subscriber_id or question.subscriber_id or None, private=not actor.is_operator)
        if rule := self._rule(wanted, actor):
            return await self._of_rule(rule, asked, self._voice(actor))
        steps = await by_delivery(self._bus, wanted)
        if steps:
            delivered = steps[0].event
            if asked.whom not in (None, delivered.subscriber_id):
                raise self._nothing_known(wanted)
            asked = Asked(delivered.subscriber_id, asked.private)
        return await self._of_event(wanted, steps, asked, self._voice(actor))

    async def _of_event(
        self, asked_id: str, steps: Sequence[Stated[DeliveryChanged]], asked: Asked, voice: Voice
    ) -> WhyReply:
        """What became of something that happened, of an alert, or of a delivery (with its steps)."""
        wanted = steps[0].event.alert_id if steps else asked_id
        stories = told_apart(await self._messages(wanted, asked.whom, steps))
        cause = await self._cause(wanted, stories)
        telling = Telling(self._bus, self._directory, voice)
        verdicts: list[Verdict] = []
        for story in stories:
            verdicts += [one async for one in telling.of_story(story, cause, asked) if len(verdicts) < MAX_VERDICTS]
        if cause is not None and cause.event.event_id == wanted:
            unmatched = Unmatched(self._bus, self._directory, voice)
            verdicts += await unmatched.verdicts(cause, {one.rule_id for one in verdicts}, asked.whom)
        if not verdicts and steps and not stories:
            verdicts = [telling.of_digest(steps)]
        if not verdicts:
            raise self._nothing_known(asked_id)
        return WhyReply(id=asked_id, about=_about(stories, cause, voice), verdicts=verdicts[:MAX_VERDICTS])

    async def _of_rule(self, rule: AlertRule, asked: Asked, voice: Voice) -> WhyReply:
        """Why a rule does not ring now, when it rang last, and whom that was told."""
        standing = await Present(self._bus, self._directory, voice, self._now_ms()).of(rule)
        key = "why.silent" if standing.problems else "why.ready"
        shown = standing.message
        now = Verdict(
            subscriber_id=asked.whom,
            rule_id=rule.rule_id,
            alert_id="",
            outcome="no_match",
            sentence=voice.say(key, rule=rule.name, problems="; ".join(standing.problems)),
            evidence=[evidence_of(shown, shown.event())] if shown else [],
        )
        telling = Telling(self._bus, self._directory, voice)
        verdicts = [now]
        for subject, said in (
            (alerts_raised_by(rule.rule_id), "why.rang"),
            (alert_suppressed(rule.rule_id), "why.spoke"),
        ):
            last = await self._bus.last(ALERTS, subject)
            for story in told_apart([last]) if last else []:
                cause = await self._cause(story.alert_id, [story])
                async for one in telling.of_story(story, cause, asked):
                    sentence = voice.say(
                        said,
                        moment=voice.moment(story.ts_ms),
                        title=_about([story], cause, voice),
                        sentence=one.sentence,
                    )
                    verdicts.append(msgspec.structs.replace(one, sentence=sentence))
        about = voice.say("why.rule", rule=rule.name)
        return WhyReply(id=rule.rule_id, about=about, verdicts=verdicts[:MAX_VERDICTS])

    async def _messages(
        self, wanted: str, whom: str | None, steps: Sequence[Stated[DeliveryChanged]]
    ) -> list[Received]:
        """Every decision about an alert, or about what happened: the newest are remembered, older ones are looked for
        around the deliveries that followed, and by the read API."""
        found = await self._alerts.messages(wanted)
        if found or not wanted.isascii() or not wanted.isalnum():
            return found
        known = self._directory.subscribers.get(whom or "")
        if not steps and whom is not None:
            steps = [one for each in await deliveries_to(self._bus, wanted, whom, known) for one in each]
        if steps:
            found = await self._archive.near(steps[0].message.stored_ms, lambda one: speaks_of(one, wanted))
        return found or await self._archive.alerts(wanted)

    async def _cause(self, wanted: str, stories: Sequence[Story]) -> Cause | None:
        """What the stories are about; without any, what the id itself names."""
        if not stories:
            return await self._causes.asked_about(wanted) if wanted.isascii() and wanted.isalnum() else None
        story = stories[0]
        stated = story.raised or story.spared[0]
        kind = story.raised.event.kind if story.raised else self._kind_of(story.rule_id)
        return await self._causes.of(stated.event, kind) if kind else await self._causes.asked_about(story.cause_id)

    def _kind_of(self, rule_id: str) -> AlertKind | None:
        """Of which kind the alerts of a rule are; None: it is gone."""
        rule = self._directory.held(RULE).get(rule_id)
        return rule.document.__struct_config__.tag if rule else None  # type: ignore[return-value]

    def _rule(self, wanted: str, actor: Actor) -> AlertRule | None:
        """The rule of this id, if it is the actor's business."""
        held = self._directory.held(RULE).get(wanted)
        if held is None or not (may_see(actor, held.document) or actor.subscriber_id in held.document.subscribers):
            return None
        return held.document

    def _voice(self, actor: Actor) -> Voice:
        subscriber = self._directory.subscribers.get(actor.subscriber_id)
        return Voice.of(subscriber) if subscriber else RECORD

    def _nothing_known(self, wanted: str) -> Rejected:
        older = ""
        if self._archive.away:
            older = f"; the HTTP API does not answer, so only the newest {REMEMBERED:,} messages were looked at"
        return Rejected(Refused.NOT_FOUND, f"nothing is stored of {wanted!r}, or nothing for you{older}")


def _about(stories: Sequence[Story], cause: Cause | None, voice: Voice) -> str:
    if cause is not None:
        return cause.title(voice)
    if not stories:
        return voice.say("why.digest")
    titles = [story.raised.event.title for story in stories if isinstance(story.raised, Stated)]
    return titles[0] if titles else voice.say("why.matched", rule=stories[0].rule_id)
