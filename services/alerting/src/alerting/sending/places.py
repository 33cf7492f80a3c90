"""Where a destination stands: its place among those of its channel, from 0. Pure."""

from __future__ import annotations

from tocsin_common.documents import Destination, Subscriber
from tocsin_common.events import ChannelName


def at_places(subscriber: Subscriber) -> list[tuple[int, Destination]]:
    """Every destination of a subscriber with its place."""
    places: dict[ChannelName, int] = {}
    found = []
    for destination in subscriber.destinations:
        place = places[destination.channel] = places.get(destination.channel, -1) + 1
        found.append((place, destination))
    return found
