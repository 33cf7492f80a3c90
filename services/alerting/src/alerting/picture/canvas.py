"""Drawing on pixels: rectangles that end where they say, text that fits, smooth lines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from alerting.picture.themes import Colour

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
SIGNS = frozenset(ELLIPSIS + "\N{MIDDLE DOT}")

DASH, DASH_GAP = 10, 12


class Canvas:
    """Wraps one image. Rows grow downwards; right and bottom edges are exclusive."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)

    def rectangle(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """Nothing where it has no size."""
        if right > left and bottom > top:
            self._draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def rounded(self, left: int, top: int, right: int, bottom: int, colour: Colour, radius: int) -> None:
        self._draw.rounded_rectangle((left, top, right - 1, bottom - 1), radius, fill=colour)

    def polygon(self, corners: Sequence[tuple[int, int]], colour: Colour) -> None:
        self._draw.polygon(corners, fill=colour)

    def line(self, points: Sequence[tuple[int, int]], colour: Colour, width: int) -> None:
        self._draw.line(points, fill=colour, width=width)

    def dashes(self, left: int, right: int, row: int, colour: Colour) -> None:
        for start in range(left, right, DASH + DASH_GAP):
            self.rectangle(start, row, min(start + DASH, right), row + 2, colour)

    def text(
        self,
        x: int,
        y: int,
        text: str,
        size: int,
        colour: Colour,
        *,
        anchor: str,
        room: int | None = None,
        weight: float = 0.0,
    ) -> int:
        """Write a line, cut to `room` pixels; `weight` thickens the strokes. Returns where it ends at the right."""
        shown = fitted(legible(text), size, room)
        self._draw.text(
            (x, y), shown, fill=colour, font=font(size), anchor=anchor, stroke_width=weight, stroke_fill=colour
        )
        return x + round(font(size).getlength(shown))

    def curve(self, columns: NDArray[np.int64], rows: NDArray[np.float64], colour: Colour, width: float) -> None:
        """A smooth line through (column, row) with ascending columns; NaN rows leave a gap.

        Every pixel is covered by as much as lies within half the width of the line, measured across it.
        """
        x = np.arange(columns[0], columns[-1] + 1)
        y = np.interp(x, columns, rows)
        slope = np.gradient(y) if len(y) > 1 else np.zeros(1)
        reach = width / 2 * np.sqrt(1 + np.minimum(slope**2, 400.0))
        top, bottom = y - reach, y + reach
        known = np.isfinite(top)
        if not known.any():
            return
        first = max(int(np.floor(top[known].min())), 0)
        last = min(int(np.ceil(bottom[known].max())), self.image.height - 1)
        row = np.arange(first, last + 1)[:, None]
        cover = np.clip(np.minimum(row + 1, bottom) - np.maximum(row, top), 0.0, 1.0)
        mask = Image.fromarray((np.nan_to_num(cover) * 255).astype(np.uint8))
        self.image.paste(colour, (int(x[0]), first), mask)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Aileron, which comes with Pillow; its digits are equally wide."""
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont), "Pillow is built without FreeType"
    return found


def legible(text: str) -> str:
    """The text with a question mark for what the typeface has no sign for: it knows ASCII and little else."""
    return "".join(char if " " <= char <= "~" or char in SIGNS else "?" for char in " ".join(text.split()))


def fitted(text: str, size: int, room: int | None) -> str:
    """As much of the text as fits, ended by an ellipsis where it is cut."""
    if room is None or font(size).getlength(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = font(size).getlength(text[:middle].rstrip() + ELLIPSIS) <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + ELLIPSIS if low else ""


def width_of(text: str, size: int) -> int:
    """Pixels that a line takes."""
    return round(font(size).getlength(legible(text)))
