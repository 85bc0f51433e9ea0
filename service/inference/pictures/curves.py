"""Signals as curves: a panel per channel, the values upwards, time to the right."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.inference.pictures.lettering import CAPTION, FAINT, PAPER, font
from service.inference.pictures.scale import Scale
from service.inference.pictures.tiles import BREADTH, GAP, fitting
from service.inference.pictures.viridis import VIRIDIS

# Lengths in pixels.
NARROWEST, LOWEST, HIGHEST = 56, 28, 160

GROUND = (241, 243, 245)
AXIS = (173, 181, 189)
LINE = (VIRIDIS[70][0].item(), VIRIDIS[70][1].item(), VIRIDIS[70][2].item())


def curves(values: NDArray[np.float64], scales: Sequence[Scale], captions: Sequence[str]) -> Image.Image:
    """`values` [C, L] in panels twice as wide as high, row by row, each with its scale from bottom to top.

    A grey line marks 0 where the scale reaches it. Of signals longer than the panel is wide, a column shows the range
    of the values that fall on it, so that no peak gets lost; a single value is a level line all across. What is not
    finite is a red line from bottom to top.
    """
    columns = math.ceil(math.sqrt(len(values) / 2))
    width = max(BREADTH // columns - GAP, NARROWEST)
    height = min(max(width // 2, LOWEST), HIGHEST)
    step_across, step_down = width + GAP, CAPTION + height + GAP
    rows = math.ceil(len(values) / columns)
    image = Image.new("RGB", (columns * step_across - GAP, rows * step_down - GAP), PAPER)
    draw = ImageDraw.Draw(image)
    for index, (signal, scale, caption) in enumerate(zip(values, scales, fitting(captions, width), strict=True)):
        top, left = index // columns * step_down, index % columns * step_across
        draw.text((left, top + CAPTION - 3), caption, FAINT, font(11), anchor="ls")
        image.paste(_panel(signal, scale, width, height), (left, top + CAPTION))
    return image


def _panel(signal: NDArray[np.float64], scale: Scale, width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), GROUND)
    draw = ImageDraw.Draw(image)
    if scale.low <= 0 <= scale.high:
        zero = _levels(np.zeros(1), scale, height)[0].item()
        draw.line((0, zero, width - 1, zero), AXIS)
    levels = _levels(signal, scale, height)
    if len(signal) > width:
        _envelope(draw, levels, width)
    elif len(signal) == 1:
        draw.line((0, levels.item(), width - 1, levels.item()), LINE)
    else:
        draw.line([*zip(_places(len(signal), width), levels.tolist(), strict=True)], LINE)
    for place in np.flatnonzero(~np.isfinite(signal)).tolist():
        across = _places(len(signal), width)[place]
        draw.line((across, 0, across, height - 1), scale.colour_of_the_lost)
    return image


def _envelope(draw: ImageDraw.ImageDraw, levels: NDArray[np.intp], width: int) -> None:
    """From the lowest to the highest level of each column, the first of the next one included, so that all connects."""
    starts = (np.arange(width + 1) * len(levels) // width).tolist()
    for column, (start, end) in enumerate(pairwise(starts)):
        part = levels[start : end + 1]
        draw.line((column, part.min().item(), column, part.max().item()), LINE)


def _levels(signal: NDArray[np.float64], scale: Scale, height: int) -> NDArray[np.intp]:
    """Rows of pixels, from the top."""
    return np.rint((1 - scale.fractions(signal)) * (height - 1)).astype(np.intp)


def _places(length: int, width: int) -> list[int]:
    """Columns of pixels, from the left."""
    return np.rint(np.linspace(0, width - 1, length)).astype(int).tolist() if length > 1 else [width // 2]
