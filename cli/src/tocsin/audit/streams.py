"""Invariants of the streams as such."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.audit.facts import Facts


def every_id_is_stored_once(facts: Facts) -> Iterator[str]:
    """No message id is on its stream twice."""
    for stream in facts.streams.values():
        yield from stream.repeated_ids


def every_message_is_an_event(facts: Facts) -> Iterator[str]:
    """Every stored message decodes as an event, or a dead letter answers for it."""
    for name, stream in facts.streams.items():
        for seq, error in stream.malformed.items():
            if (name, seq) not in facts.buried:
                yield f"{name} {seq}: {error}"


def no_bug_gave_a_message_up(facts: Facts) -> Iterator[str]:
    """No dead letter has the reason `bug`: what we give up is wrong input, never our own failure."""
    for (service, reason), count in sorted(facts.dead.items()):
        if reason == "bug":
            yield f"{service}: {count} messages given up after a bug"
