"""One sentence for each of those who were told, or spared, with the events that prove it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec

from alerting.directory import Directory
from alerting.kinds import RULE, SILENCE
from alerting.why.causes import Cause
from alerting.why.sentences import Settings, of_delivery, of_suppression
from alerting.why.stories import Stated, Story, deliveries_to
from alerting.words.voice import Voice
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.events import AlertSuppressed, DeliveryChanged, Event
from tocsin_common.requests.management import Evidence, Outcome, Verdict

MOST_SAID: tuple[Outcome, ...] = ("under_way", "sent", "uncertain", "not_sent")
"""Of several deliveries to one subscriber, which counts."""


@dataclass(frozen=True, slots=True)
class Asked:
    """For whom: `whom` None is everybody. `private`: others are none of the asker's business."""

    whom: str | None
    private: bool


@dataclass(frozen=True, slots=True)
class Telling:
    """Tells what became of alerts."""

    bus: Bus
    directory: Directory
    voice: Voice

    async def of_story(self, story: Story, cause: Cause | None, asked: Asked) -> AsyncIterator[Verdict]:
        """A verdict for each of those who are asked about and who were told, or spared."""
        everybody = story.of_everybody()
        for name in self._people(story, asked):
            spared = everybody or (story.of(name) if name else None)
            if spared is not None:
                yield self._spared(story, spared, name)
            elif name is not None and story.raised is not None:
                yield await self._told(story, story.raised.event.subscribers, cause, name, asked)

    def of_digest(self, steps: Sequence[Stated[DeliveryChanged]]) -> Verdict:
        """Of a delivery that is of no alert."""
        first, events = steps[0].event, [step.event for step in steps]
        outcome, text = of_delivery(events, first.at_ms, self.voice.say("event.digest"), self.voice)
        story = Story(first.alert_id, "", "")
        said = self.voice.say("why.told", name=first.subscriber_id, became=text)
        return _verdict(story, first.subscriber_id, outcome, said, _proof(steps))

    def _people(self, story: Story, asked: Asked) -> Sequence[str | None]:
        """Those whom a story is about; None: nobody in particular."""
        rule = self.directory.held(RULE).get(story.rule_id)
        people = story.named() or (rule.document.subscribers if rule else [])
        if asked.whom is None:
            return people or [None]
        return [asked.whom] if asked.whom in people else []

    def _spared(self, story: Story, spared: Stated[AlertSuppressed], name: str | None) -> Verdict:
        silence = self.directory.held(SILENCE).get(spared.event.silence_id)
        rule = self.directory.held(RULE).get(story.rule_id)
        settings = Settings(
            rule=rule.document if rule else None,
            subscriber=self.directory.subscribers.get(name or ""),
            silence=silence.document if silence else None,
        )
        sentence = of_suppression(spared.event, name or self.voice.say("why.anybody"), settings, self.voice)
        return _verdict(story, name, "not_sent", sentence, _proof([spared]))

    async def _told(self, story: Story, told: Sequence[str], cause: Cause | None, name: str, asked: Asked) -> Verdict:
        assert story.raised is not None
        known = self.directory.subscribers.get(name)
        found = await deliveries_to(self.bus, story.alert_id, name, known)
        began = cause.message if cause else story.raised.message
        since = cause.words(self.voice) if cause else self.voice.say("event.alert")
        alert = msgspec.structs.replace(story.raised.event, subscribers=[name] if asked.private else list(told))
        evidence = [evidence_of(story.raised.message, alert)]
        if not found:
            return _verdict(story, name, "not_sent", self.voice.say("why.nowhere", name=name), evidence)
        became = [of_delivery([one.event for one in steps], began.stored_ms, since, self.voice) for steps in found]
        outcome = min((outcome for outcome, _ in became), key=MOST_SAID.index)
        said = self.voice.say("why.told", name=name, became="; ".join(text for _, text in became))
        return _verdict(story, name, outcome, said, evidence + [one for steps in found for one in _proof(steps)])


def evidence_of(message: Received, event: Event) -> Evidence:
    """An event, and where it stands."""
    return Evidence(
        stream=message.stream, seq=message.seq, stored_ms=message.stored_ms, event=msgspec.to_builtins(event)
    )


def _proof(stated: Sequence[Stated[DeliveryChanged]] | Sequence[Stated[AlertSuppressed]]) -> list[Evidence]:
    return [evidence_of(one.message, one.event) for one in stated]


def _verdict(story: Story, name: str | None, outcome: Outcome, sentence: str, evidence: list[Evidence]) -> Verdict:
    return Verdict(
        subscriber_id=name,
        rule_id=story.rule_id,
        alert_id=story.alert_id,
        outcome=outcome,
        sentence=sentence,
        evidence=evidence,
    )
