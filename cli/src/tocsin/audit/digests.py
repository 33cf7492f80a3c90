"""Invariants of digests: what is put aside is told once, together with others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tocsin.audit.facts import Facts
from tocsin_common.events import DigestEnded, DigestLine


def everything_put_aside_is_a_line(facts: Facts) -> Iterator[str]:
    """Every delivery that waits for a digest, or was told in one, is a line on DIGESTS once, or still due in SEND."""
    for delivery_id, steps in facts.deliveries.items():
        lines = facts.lines.get(delivery_id, [])
        if steps[-1].state in ("aside", "digested") and not lines and delivery_id not in facts.due:
            yield f"{delivery_id}: {steps[-1].state}, but not on DIGESTS"
        elif len(lines) > 1:
            yield f"{delivery_id}: {len(lines)} lines on DIGESTS"


def every_line_is_told_by_the_digest_it_names(facts: Facts) -> Iterator[str]:
    """Every delivery told in a digest names one that has ended and was for its line."""
    for delivery_id, steps in facts.deliveries.items():
        if steps[-1].state != "digested":
            continue
        digest = facts.digests.get(steps[-1].provider_ref)
        if digest is None:
            yield f"{delivery_id}: in the digest {steps[-1].provider_ref}, which has not ended"
            continue
        for seq, line in facts.lines.get(delivery_id, []):
            if _box(line) != _box(digest):
                yield f"{delivery_id}: in the digest {digest.delivery_id} of another box"
            elif not digest.first_seq <= seq <= digest.through_seq:
                yield f"{delivery_id}: line {seq} is not in {digest.first_seq} to {digest.through_seq} of its digest"


def no_two_digests_tell_the_same(facts: Facts) -> Iterator[str]:
    """The digests of a box follow each other: none begins before the one before it ended."""
    for before, after in pairwise(sorted(facts.digests.values(), key=lambda one: (*_box(one), one.first_seq))):
        if _box(before) == _box(after) and after.first_seq <= before.through_seq:
            yield f"{after.delivery_id}: begins at {after.first_seq}, {before.delivery_id} goes to {before.through_seq}"


def _box(fact: DigestLine | DigestEnded) -> tuple[str, str, int, str]:
    return fact.subscriber_id, fact.channel, fact.place, fact.box
