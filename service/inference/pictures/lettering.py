"""Words on pictures: their font, their colours, and how they are made to fit."""

import math
from bisect import bisect_left
from functools import cache

from PIL import ImageFont

Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (33, 37, 41)
FAINT: Colour = (118, 124, 131)

# Lengths in pixels.
CAPTION = 14
"""The height of a line that numbers something."""
DIGIT = 8


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, so that pictures look the same on every machine."""
    return ImageFont.load_default(size)


def width_of(text: str, size: int) -> int:
    """In pixels, rounded up."""
    return math.ceil(font(size).getlength(text))


def shortened(name: str, width: int, size: int = 20) -> str:
    """On one line of `width` pixels: without its middle if it is too long, as ends tell layers apart."""
    name = " ".join(name.split())
    longest = min(len(name), width // (size // 5))  # no letter is narrower
    if len(name) == longest and font(size).getlength(name) <= width:
        return name

    def cut(keep: int) -> str:
        return f"{name[: keep // 2]}…{name[-(keep - keep // 2) :]}"

    return cut(bisect_left(range(longest), True, 8, key=lambda keep: font(size).getlength(cut(keep + 1)) > width))


def round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 ... that is at least `least`."""
    power: int = 10 ** math.floor(math.log10(max(least, 1)))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)
