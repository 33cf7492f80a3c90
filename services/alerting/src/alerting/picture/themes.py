"""The colours of a picture. Zones and volumes are the colours mixed with the background: nothing is transparent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]
ThemeName = Literal["dark", "light"]


@dataclass(frozen=True, slots=True)
class Theme:
    """`lines` are for indicators, in the order they are given; they are used again when there are more."""

    background: Colour
    grid: Colour
    text: Colour
    pale: Colour
    rises: Colour
    falls: Colour
    entry: Colour
    stop: Colour
    target: Colour
    on_level: Colour
    lines: tuple[Colour, ...]

    def faint(self, colour: Colour, share: float) -> Colour:
        """A share of the colour over the background."""
        red, green, blue = (
            round(share * over + (1 - share) * under) for over, under in zip(colour, self.background, strict=True)
        )
        return red, green, blue


THEMES: dict[ThemeName, Theme] = {
    "dark": Theme(
        background=(17, 21, 29),
        grid=(31, 38, 49),
        text=(232, 236, 242),
        pale=(132, 143, 160),
        rises=(78, 163, 145),
        falls=(196, 104, 108),
        entry=(126, 164, 240),
        stop=(232, 92, 98),
        target=(67, 190, 138),
        on_level=(12, 15, 21),
        lines=((222, 176, 92), (168, 138, 222), (96, 178, 214), (214, 130, 176)),
    ),
    "light": Theme(
        background=(255, 255, 255),
        grid=(236, 239, 243),
        text=(27, 34, 46),
        pale=(112, 123, 140),
        rises=(74, 158, 138),
        falls=(206, 112, 112),
        entry=(48, 104, 206),
        stop=(206, 54, 66),
        target=(24, 138, 92),
        on_level=(255, 255, 255),
        lines=((196, 140, 40), (126, 92, 190), (44, 134, 176), (184, 84, 140)),
    ),
}
