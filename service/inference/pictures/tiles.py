"""Maps as tiles: blocks of colour side by side, each under its number."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.inference.pictures.lettering import CAPTION, FAINT, PAPER, font, width_of

# Lengths in pixels.
GAP = 6
BREADTH = 1100  # what the body of a sheet aims at
LARGEST_TILE, SMALLEST_TILE = 160, 26


def tiles(colours: NDArray[np.uint8], captions: Sequence[str]) -> Image.Image:
    """Tiles [count, height, width, RGB], row by row, each under its caption; the whole about as high as it is wide.

    Each number is a block of pixels of one colour: nothing is smoothed. A caption begins with a number; what
    follows it is left out where it would not fit.
    """
    count, height, width, _ = colours.shape
    columns = min(count, math.ceil(math.sqrt(count * height / width)))
    side = min(max(BREADTH // columns - GAP, SMALLEST_TILE), LARGEST_TILE)
    zoom = max(1, side // max(height, width))
    down, across = (max(zoom, math.ceil(SMALLEST_TILE / extent)) for extent in (height, width))
    step_down, step_across = height * down + CAPTION + GAP, width * across + GAP
    rows = math.ceil(count / columns)
    canvas = np.full((rows * step_down - GAP, columns * step_across - GAP, 3), PAPER, np.uint8)
    corners = [(index // columns * step_down, index % columns * step_across) for index in range(count)]
    for (top, left), tile in zip(corners, colours, strict=True):
        block = tile.repeat(down, axis=0).repeat(across, axis=1)
        canvas[top + CAPTION : top + CAPTION + height * down, left : left + width * across] = block
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for (top, left), caption in zip(corners, fitting(captions, width * across), strict=True):
        draw.text((left, top + CAPTION - 3), caption, FAINT, font(11), anchor="ls")
    return image


def fitting(captions: Sequence[str], width: int) -> list[str]:
    """The captions, or just the first word of each where one of them is wider than `width` pixels."""
    if all(width_of(caption, 11) <= width for caption in captions):
        return list(captions)
    return [caption.split()[0] for caption in captions]
