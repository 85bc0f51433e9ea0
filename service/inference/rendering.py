"""Arrays -> pictures, and arrays -> a file of arrays."""

import io
import math
import zipfile
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.errors import NotAcceptable
from service.inference.viridis import VIRIDIS, viridis

Array = NDArray[Any]
Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (33, 37, 41)
FAINT: Colour = (118, 124, 131)
NOT_FINITE: Colour = (214, 39, 40)  # a red that viridis does not have

# Lengths in pixels.
MARGIN = 20
GAP = 6
CAPTION = 14
HEADER = 66
BREADTH = 1100  # what the body of a sheet aims at
LARGEST_TILE, SMALLEST_TILE = 160, 26
WIDEST_BAR, NARROWEST_BAR = 36, 3
DIGIT = 8
COLOUR_BAR = (160, 12)

OUTLIERS = 0.002  # of a layer's maps, at each end of the scale
MOST_CHANNELS, MOST_VALUES = 30_000, 30_000_000
LONGEST_NAME = 65_000  # in bytes; a zip file counts them in 16 bits
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip: a file must not depend on when it was made


@dataclass(frozen=True)
class Scale:
    """The one scale of a layer: the values that get the first and the last colour, and how many are not finite."""

    low: float
    high: float
    not_finite: int = 0

    @classmethod
    def of(cls, values: Array, outliers: float = 0.0) -> Self:
        """From the lowest finite value of `values` to the highest; 0 to 0 where none is finite.

        `outliers` is the fraction that may lie beyond each end, so that a few extremes do not darken all the rest.
        """
        finite = values[np.isfinite(values)]
        if not finite.size:
            return cls(0.0, 0.0, values.size)
        beyond = int(outliers * finite.size)
        low, high = np.partition(finite, (beyond, -1 - beyond))[[beyond, -1 - beyond]].tolist()
        if low == high:  # the extremes are all there is to see
            low, high = finite.min(), finite.max()
        return cls(float(low), float(high), values.size - finite.size)

    def __str__(self) -> str:
        return f"{_short(self.low)} to {_short(self.high)}"

    def fractions(self, values: Array) -> NDArray[np.float64]:
        """Where in the scale each value lies: 0 to 1; 0 where the scale has no length, or the value is not finite."""
        halves = np.where(np.isfinite(values), values, self.low) / 2  # halves: the range of huge values overflows
        length = self.high / 2 - self.low / 2
        place = (halves - self.low / 2) / length if length > 0 else np.zeros(values.shape)
        return np.clip(place, 0, 1)

    def colours(self, values: Array) -> NDArray[np.uint8]:
        """RGB [..., 3] for `values` [...]."""
        colours = viridis(self.fractions(values))
        colours[~np.isfinite(values)] = NOT_FINITE
        return colours


def contact_sheet(values: Array, name: str) -> bytes:
    """A PNG of what the layer `name` yielded for one input: [C, H, W] as tiles, [F] as bars, numbered from 0.

    One scale for all of them, drawn beside the name. Of maps, the 0.2 % highest values share the last colour and the
    0.2 % lowest the first; their true range is then told. Red is not finite. Each number of a map is a block of pixels
    of one colour: nothing is smoothed. The same values give the same bytes.
    Raises NotAcceptable for another rank, for no values at all, for what are no real numbers, and for more than anybody
    could look at.
    """
    if values.dtype.kind not in "biuf" or values.ndim not in (1, 3) or not values.size:
        raise NotAcceptable(f"layer {name!r} has no picture: {values.dtype} of shape {list(values.shape)}")
    if len(values) > MOST_CHANNELS or values.size > MOST_VALUES:
        raise NotAcceptable(f"layer {name!r} of shape {list(values.shape)} is too large for a picture; ask for npz")
    numbers = values.astype(np.float64)
    scale = Scale.of(numbers, OUTLIERS if values.ndim == 3 else 0.0)
    whole = Scale.of(numbers)
    body = _tiles(numbers, scale) if values.ndim == 3 else _bars(numbers, scale)
    shape = " x ".join(map(str, values.shape)) if values.ndim == 3 else f"{values.size} values"
    detail = shape if scale == whole else f"{shape}, values {whole}"
    encoded = io.BytesIO()
    _framed(body, name, detail, scale).save(encoded, "PNG", compress_level=6)
    return encoded.getvalue()


def npz(arrays: Mapping[str, Array]) -> bytes:
    """An uncompressed .npz of exactly these arrays, under their names; `np.load(..., allow_pickle=False)` reads it.

    The same arrays give the same bytes. (numpy looks `a.npy` up as `a` where there is both; that is how it reads.)
    Raises NotAcceptable for an array that is not made of numbers, and a name that a zip file cannot hold.
    """
    encoded = io.BytesIO()
    with zipfile.ZipFile(encoded, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise NotAcceptable(f"layer {name!r} is not made of numbers")
            if "\0" in name or len(name.encode()) > LONGEST_NAME:
                raise NotAcceptable(f"no npz file can hold a name such as {name[:50]!r}")
            with archive.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return encoded.getvalue()


def _tiles(maps: NDArray[np.float64], scale: Scale) -> Image.Image:
    """Channels side by side, row by row, each under its number; the whole about as high as it is wide."""
    count, height, width = maps.shape
    columns = min(count, math.ceil(math.sqrt(count * height / width)))
    side = min(max(BREADTH // columns - GAP, SMALLEST_TILE), LARGEST_TILE)
    zoom = max(1, side // max(height, width))
    down, across = (max(zoom, math.ceil(SMALLEST_TILE / extent)) for extent in (height, width))
    step_down, step_across = height * down + CAPTION + GAP, width * across + GAP
    rows = math.ceil(count / columns)
    canvas = np.full((rows * step_down - GAP, columns * step_across - GAP, 3), PAPER, np.uint8)
    corners = [(index // columns * step_down, index % columns * step_across) for index in range(count)]
    for (top, left), tile in zip(corners, scale.colours(maps), strict=True):
        block = tile.repeat(down, axis=0).repeat(across, axis=1)
        canvas[top + CAPTION : top + CAPTION + height * down, left : left + width * across] = block
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for index, (top, left) in enumerate(corners):
        draw.text((left, top + CAPTION - 3), str(index), FAINT, _font(11), anchor="ls")
    return image


def _bars(values: NDArray[np.float64], scale: Scale) -> Image.Image:
    """Features as bars from the line of 0, in as many rows as it takes, numbered at even distances."""
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
    between = _round_step(DIGIT * (len(str(len(values))) + 1) / pitch)
    for index, (end, colour) in enumerate(zip(ends.tolist(), scale.colours(values).tolist(), strict=True)):
        top, left = index // per_row * (height + CAPTION + GAP), index % per_row * pitch
        upper, lower = sorted((end, zero))
        draw.rectangle((left, top + upper, left + thickness - 1, top + lower), tuple(colour))
        if index % between == 0:
            draw.text((left, top + height + CAPTION - 2), str(index), FAINT, _font(11), anchor="ls")
    return image


def _framed(body: Image.Image, name: str, detail: str, scale: Scale) -> Image.Image:
    """The body under a header: the layer's name and shape, and what the colours mean."""
    key = _key(scale)
    width = max(body.width, math.ceil(_font(13).getlength(detail)) + 3 * MARGIN + key.width) + 2 * MARGIN
    image = Image.new("RGB", (width, HEADER + MARGIN + body.height + MARGIN), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN + 14), _shortened(name, width - 2 * MARGIN), INK, _font(20), anchor="ls")
    draw.text((MARGIN, MARGIN + 42), detail, FAINT, _font(13), anchor="ls")
    image.paste(key, (width - MARGIN - key.width, MARGIN + 30))
    image.paste(body, (MARGIN, HEADER + MARGIN))
    return image


def _key(scale: Scale) -> Image.Image:
    """The colour bar between the lowest and the highest value, and the number of those that are not finite."""
    low, high = _short(scale.low), _short(scale.high)
    lost = f"{scale.not_finite} not finite" if scale.not_finite else ""
    font, (length, height) = _font(13), COLOUR_BAR
    widths = [math.ceil(font.getlength(text)) for text in (low, high, lost)]
    image = Image.new("RGB", (sum(widths) + length + (32 if lost else 16), 18), PAPER)
    draw = ImageDraw.Draw(image)
    bar = viridis(np.linspace(0, 1, length)) if scale.high > scale.low else np.tile(VIRIDIS[0], (length, 1))
    left = widths[0] + 8
    draw.text((0, 12), low, INK, font, anchor="ls")
    image.paste(Image.fromarray(np.tile(bar, (height, 1, 1))), (left, 1))
    draw.text((left + length + 8, 12), high, INK, font, anchor="ls")
    draw.text((image.width, 12), lost, NOT_FINITE, font, anchor="rs")
    return image


def _shortened(name: str, width: int) -> str:
    """On one line of `width` pixels: without its middle if it is too long, as ends tell layers apart."""
    name, font = " ".join(name.split()), _font(20)
    longest = min(len(name), width // 4)  # no letter is narrower than 4 pixels
    if len(name) == longest and font.getlength(name) <= width:
        return name

    def cut(keep: int) -> str:
        return f"{name[: keep // 2]}…{name[-(keep - keep // 2) :]}"

    return cut(bisect_left(range(longest), True, 8, key=lambda keep: font.getlength(cut(keep + 1)) > width))


def _short(value: float) -> str:
    return f"{value + 0.0:.3g}"  # adding 0 turns -0 into 0


def _round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 ... that is at least `least`."""
    power: int = 10 ** math.floor(math.log10(max(least, 1)))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
