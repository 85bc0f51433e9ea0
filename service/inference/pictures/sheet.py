"""A sheet: the body of a picture under a header that says what it shows and what its colours mean."""

import io
import math

import numpy as np
from PIL import Image, ImageDraw

from service.inference.pictures.lettering import FAINT, INK, PAPER, font, shortened, width_of
from service.inference.pictures.scale import NOT_FINITE, Scale, short

# Lengths in pixels.
MARGIN = 20
HEADER = 66
LINE = 18
COLOUR_BAR = (160, 12)


def sheet(
    body: Image.Image,
    name: str,
    detail: str,
    scale: Scale | None,
    note: str = "",
    *,
    upwards: bool = False,
    not_finite: int = 0,
) -> bytes:
    """A PNG of `body` under its `name`, a line of `detail`, and a line for `note` if there is one.

    `scale` is what its colours mean, or its height where it goes `upwards`; None: each part has a scale of its own, and
    `not_finite` of all the numbers are not. The same arguments give the same bytes.
    """
    lost = scale.not_finite if scale else not_finite
    key = (_heights if upwards else _key)(scale, f"{lost} not finite" if lost else "")
    width = max(body.width, width_of(detail, 13) + 3 * MARGIN + key.width) + 2 * MARGIN
    header = HEADER + (LINE if note else 0)
    image = Image.new("RGB", (width, header + MARGIN + body.height + MARGIN), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN + 14), shortened(name, width - 2 * MARGIN), INK, font(20), anchor="ls")
    draw.text((MARGIN, MARGIN + 42), detail, FAINT, font(13), anchor="ls")
    if note:
        text = shortened(note, width - 2 * MARGIN, 13)
        draw.text((MARGIN, MARGIN + 42 + LINE), text, FAINT, font(13), anchor="ls")
    image.paste(key, (width - MARGIN - key.width, MARGIN + 30))
    image.paste(body, (MARGIN, header + MARGIN))
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=6)
    return encoded.getvalue()


def _heights(scale: Scale | None, lost: str) -> Image.Image:
    """What the bottom and the top of a curve's panel are, and the number of values that are not finite."""
    text = f"from bottom to top: {scale}" if scale else "from bottom to top: the range of each channel"
    image = Image.new("RGB", (width_of(text, 13) + (16 + width_of(lost, 13) if lost else 0), 18), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((0, 12), text, INK, font(13), anchor="ls")
    draw.text((image.width, 12), lost, NOT_FINITE, font(13), anchor="rs")
    return image


def _key(scale: Scale | None, lost: str) -> Image.Image:
    """The colour bar between the lowest and the highest value, and the number of those that are not finite."""
    low, high = ("each channel: its lowest", "its highest") if scale is None else (short(scale.low), short(scale.high))
    length, height = COLOUR_BAR
    widths = [width_of(text, 13) for text in (low, high, lost)]
    image = Image.new("RGB", (sum(widths) + length + (32 if lost else 16), 18), PAPER)
    draw = ImageDraw.Draw(image)
    scale = scale or Scale(0.0, 1.0)
    places = np.linspace(0, 1, length) if scale.high > scale.low else scale.fractions(np.zeros(length))
    left = widths[0] + 8
    draw.text((0, 12), low, INK, font(13), anchor="ls")
    image.paste(Image.fromarray(np.tile(scale.ramp(places), (height, 1, 1))), (left, 1))
    if scale.low < 0 < scale.high:  # where 0 is
        zero = left + math.floor(float(scale.fractions(np.zeros(1))[0]) * (length - 1))
        draw.line((zero, 10, zero, 17), INK)
    draw.text((left + length + 8, 12), high, INK, font(13), anchor="ls")
    draw.text((image.width, 12), lost, scale.colour_of_the_lost, font(13), anchor="rs")
    return image
