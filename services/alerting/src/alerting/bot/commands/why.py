"""Why somebody did, or did not, get an alert."""

from __future__ import annotations

from alerting.bot.answers import Answer, fit
from alerting.bot.desk import Desk
from alerting.bot.question import OPERATOR, Command, Question
from alerting.reasons import Refused
from tocsin_common.errors import Rejected
from tocsin_common.requests.management import WHY, WhyRequest

ID_MAX = 200


async def why(question: Question, desk: Desk) -> Answer:
    """A sentence for each alert of the one who asks; an operator is told of everybody's."""
    if len(question.words) != 1 or len(question.rest) > ID_MAX:
        raise question.refuse("usage", "why.usage")
    actor = OPERATOR if question.operator else question.actor
    try:
        reply = await desk.bus.request(WHY, WhyRequest(actor=actor, id=question.rest))
    except Rejected as error:
        if error.reason != Refused.NOT_FOUND:
            raise
        raise question.refuse("nothing", "why.nothing") from None
    say = question.say
    verdicts = (say("why.verdict", sentence=one.sentence) for one in reply.verdicts)
    return Answer(fit([say("why.about", about=reply.about), *verdicts]))


COMMANDS = {"why": Command(why)}
