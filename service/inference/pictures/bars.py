"""Features as bars."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.inference.pictures.lettering import CAPTION, DIGIT, FAINT, PAPER, font, round_step
from service.inference.pictures.scale import Scale
from service.inference.pictures.tiles import BREADTH, GAP

# Lengths in pixels.
WIDEST_BAR, NARROWEST_BAR = 36, 3


def bars(values: NDArray[np.float64], scale: Scale, numbers: Sequence[int]) -> Image.Image:
    """`values` [F] as bars from the line of 0, in as many rows as it takes, numbered at even distances."""
    pitch = min(max(BREADTH // len(values), NARROWEST_BAR), WIDEST_BAR)
    per_row = min(len(values), BREADTH // pitch)
    rows = math.ceil(len(values) / per_row)
    height = max(160 if rows <= 4 else 640 // rows, 32)
    image = Image.new("RGB", (per_row * pitch, rows * (height + CAPTION + GAP)), PAPER)
    draw = ImageDraw.Draw(image)
    level = Scale(min(scale.low, 0.0), max(scale.high, 0.0))
    ends = height - np.rint(level.fractions(values) * height).astype(int)
    ends[~np.isfinite(values)] = 0  # as high as can be, so that nobody overlooks it
    zero = height - round(float(level.fractions(np.zeros(1))[0]) * height)
    thickness = max(pitch * 4 // 5, 2)
    between = round_step(DIGIT * (len(str(max(numbers))) + 1) / pitch)
    for index, (end, colour) in enumerate(zip(ends.tolist(), scale.colours(values).tolist(), strict=True)):
        top, left = index // per_row * (height + CAPTION + GAP), index % per_row * pitch
        upper, lower = sorted((end, zero))
        draw.rectangle((left, top + upper, left + thickness - 1, top + lower), tuple(colour))
        if index % between == 0:
            draw.text((left, top + height + CAPTION - 2), str(numbers[index]), FAINT, font(11), anchor="ls")
    return image
