"""Pairs of channels, one to a place: outputs downwards, inputs across."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.inference.pictures.lettering import CAPTION, DIGIT, FAINT, PAPER, font, round_step
from service.inference.pictures.scale import Scale
from service.inference.pictures.tiles import BREADTH

Numbers = NDArray[np.float64]

LINES = (173, 181, 189)  # as white means 0
LARGEST_PLACE = 24  # pixels; of a kernel's places and of a matrix's alike


@dataclass(frozen=True)
class Blocks:
    """A matrix small enough to be drawn: its own numbers, or the root mean square of blocks of `side`."""

    values: Numbers
    side: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, values: Numbers, most: int) -> Self:
        """`values` [out, in] in at most `most` rows and columns."""
        down, across = (-(-length // most) for length in values.shape)
        if (down, across) == (1, 1):
            return cls(values)
        for axis, side in ((0, down), (1, across)):
            starts = np.arange(0, values.shape[axis], side)
            lengths = np.diff([*starts, values.shape[axis]]).reshape((-1, 1) if axis == 0 else (1, -1))
            values = np.sqrt(np.add.reduceat(np.square(values), starts, axis=axis) / lengths)
        return cls(values, (down, across))

    def __str__(self) -> str:
        return "" if self.side == (1, 1) else f", root mean square of blocks of {self.side[0]} x {self.side[1]}"


def matrix(pairs: Numbers, scale: Scale, side: tuple[int, int] = (1, 1)) -> Image.Image:
    """`pairs` [out, in, height, width]: a little map each, in rows and columns, with a line between unless 1 x 1.

    Rows and columns are numbered at even distances, `side` being how many channels one of them stands for.
    """
    outputs, inputs, height, width = pairs.shape
    gap = int(height * width > 1)
    down, across = (
        max(1, min((BREADTH // count - gap) // extent, LARGEST_PLACE))
        for count, extent in ((outputs, height), (inputs, width))
    )
    if gap:  # kernels keep their proportions
        down = across = max(2, min(down, across)) if max(outputs, inputs) > 1 else down
    step_down, step_across = height * down + gap, width * across + gap
    left = DIGIT * len(str(outputs * side[0])) + 4
    canvas = np.full((CAPTION + outputs * step_down, left + inputs * step_across, 3), PAPER, np.uint8)
    blown = scale.colours(pairs).repeat(down, axis=2).repeat(across, axis=3)
    room = np.full((outputs, inputs, step_down, step_across, 3), LINES, np.uint8)
    room[:, :, : height * down, : width * across] = blown
    canvas[CAPTION:, left:] = room.swapaxes(1, 2).reshape(outputs * step_down, inputs * step_across, 3)
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for row in range(0, outputs, round_step(CAPTION / step_down)):
        draw.text((0, CAPTION + row * step_down), str(row * side[0]), FAINT, font(11), anchor="lt")
    for column in range(0, inputs, round_step(DIGIT * (len(str(inputs * side[1])) + 1) / step_across)):
        draw.text((left + column * step_across, CAPTION - 3), str(column * side[1]), FAINT, font(11), anchor="ls")
    return image
