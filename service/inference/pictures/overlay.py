"""A map of the model's input laid over the picture that the input was made from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.inference.contract.card import InputCard
from service.inference.pictures.png import Pixels, png
from service.inference.pictures.viridis import VIRIDIS

Numbers = NDArray[np.float64]
Shares = NDArray[np.float32]

STRONGEST = 0.75  # of the colour, where the map is highest; the rest is the picture
UNSEEN = 0.4  # brightness of what the model was not shown
TILE = (64, 8192)  # height and width of what is painted at a time: a picture may be as wide as it has pixels
STRIP = TILE[0] * TILE[1]  # most pixels of the strips that are painted one after the other, unless a line has more
KEPT = 2**16  # width, up to which the map is stretched only once

LEVELS = 255
_PALETTE = VIRIDIS[np.rint(np.linspace(0, 1, LEVELS + 1) * (len(VIRIDIS) - 1)).astype(int)].tobytes()
_MASK = [round(level * STRONGEST) for level in range(LEVELS + 1)]
_DARK = [int(value * UNSEEN + 0.5) for value in range(256)] * 3


@dataclass(frozen=True)
class Span:
    """Along one axis: where the picture begins in the model's input, and how long it is, in lengths of that input."""

    start: float
    length: float

    def places(self, begin: int, end: int, pixels: int) -> Numbers:
        """Where the centres of the pixels from `begin` to `end` of a picture of `pixels` lie in the input: 0 to 1.

        Outside of that, the model did not see them.
        """
        return self.start + (np.arange(begin, end) + 0.5) / pixels * self.length


@dataclass(frozen=True)
class Spacing:
    """Along one axis: where the centre of a map's first place lies in the model's input, and how far it is to the next.

    In lengths of that input.
    """

    first: float
    step: float

    @classmethod
    def even(cls, places: int) -> Self:
        """The map covers the input."""
        return cls(0.5 / places, 1 / places)


def spans(size: tuple[int, int], card: InputCard) -> tuple[Span, Span]:
    """Down and across: how an upright picture of (width, height) `size` lies in the input that the card asks for."""
    (width, height), (down, across) = size, card.size
    if card.fit == "stretch":
        return Span(0, 1), Span(0, 1)
    ratios = across / width, down / height
    ratio = max(ratios) if card.fit == "crop" else min(ratios)
    if card.fit == "crop":
        return _centred(height * ratio / down), _centred(width * ratio / across)
    return _padded(height * ratio, down), _padded(width * ratio, across)


def _centred(length: float) -> Span:
    return Span((1 - length) / 2, length)


def _padded(extent: float, target: int) -> Span:
    """Padding is whole pixels, and so is what is between."""
    pixels = max(1, round(extent))
    return Span((target - pixels) // 2 / target, pixels / target)


def overlay(
    image: Image.Image,
    values: Numbers,
    card: InputCard,
    spacing: tuple[Spacing, Spacing] | None = None,
    text: Mapping[str, str] | None = None,
) -> bytes:
    """A PNG of the size of `image` ("RGB", upright), in colours where `values` [H, W] of the model's input are high.

    The map is made larger by Catmull-Rom's cubic; nothing is coloured where it is 0 or less, and its highest value is
    yellow (viridis). What the model was not shown is dark. `spacing`, down and across, says where the places lie, by
    default evenly over the whole input. `text` goes into the file. `image` stays as it is; it is painted and encoded
    strip by strip, so that there is no second one in memory.
    """
    painting = _Painting(image, _shares(values), card, spacing)
    return png(image.size, painting.strips(), text or {})


def _shares(values: Numbers) -> Shares:
    """Of the highest value, 0 where a value is not finite or speaks against the class."""
    finite = np.where(np.isfinite(values), values, 0.0)
    highest = float(finite.max(initial=0.0))
    shares = np.clip(finite, 0, None) / highest if highest > 0 else np.zeros(values.shape)
    return shares.astype(np.float32)


class _Painting:
    """A picture under a map, tile by tile."""

    def __init__(
        self, image: Image.Image, shares: Shares, card: InputCard, spacing: tuple[Spacing, Spacing] | None
    ) -> None:
        self._image = image
        self._shares = shares
        self._spans = spans(image.size, card)
        self._spacing = spacing or (Spacing.even(shares.shape[0]), Spacing.even(shares.shape[1]))
        self._stretched: dict[int, Shares] = {}

    def strips(self) -> Iterator[Pixels]:
        """All lines from the top, some at a time: [lines, width, RGB]."""
        width, height = self._image.size
        lines = min(max(1, STRIP // width), TILE[0])
        for top in range(0, height, lines):
            yield self._strip(top, min(top + lines, height))

    def _strip(self, top: int, bottom: int) -> Pixels:
        width, height = self._image.size
        down = self._spans[0].places(top, bottom, height)
        lines, weights = _cubic((down - self._spacing[0].first) / self._spacing[0].step, self._shares.shape[0])
        painted = np.empty((bottom - top, width, 3), np.uint8)
        for left in range(0, width, TILE[1]):
            right = min(left + TILE[1], width)
            stretched = self._stretch(left, right)
            sampled = sum(stretched[line] * weight[:, np.newaxis] for line, weight in zip(lines, weights, strict=True))
            seen = _seen(down, self._spans[1].places(left, right, width))
            tile = self._image.crop((left, top, right, bottom))
            painted[:, left:right] = np.asarray(_painted(tile, sampled, seen))
        return painted

    def _stretch(self, left: int, right: int) -> Shares:
        """The map as wide as that part of the picture, and as high as before; kept, unless the picture is very wide."""
        if left not in self._stretched:
            across = self._spans[1].places(left, right, self._image.width)
            places, weights = _cubic((across - self._spacing[1].first) / self._spacing[1].step, self._shares.shape[1])
            if self._image.width > KEPT:
                self._stretched.clear()
            self._stretched[left] = np.asarray(
                sum(self._shares[:, place] * weight for place, weight in zip(places, weights, strict=True))
            )
        return self._stretched[left]


def _painted(tile: Image.Image, shares: Shares, seen: NDArray[np.bool_]) -> Image.Image:
    """All in whole numbers of 0 to 255, by Pillow: several times as fast as numpy's floats."""
    levels = (np.clip(shares, 0, 1) * np.float32(LEVELS) + np.float32(0.5)).astype(np.uint8)
    if not seen.all():
        levels *= seen
        tile = Image.composite(tile, tile.point(_DARK), Image.fromarray(seen.astype(np.uint8) * np.uint8(255)))
    if not levels.any():
        return tile
    colours = Image.fromarray(levels)
    colours.putpalette(_PALETTE)
    tile.paste(colours.convert("RGB"), mask=Image.fromarray(levels).point(_MASK))
    return tile


def _seen(rows: Numbers, columns: Numbers) -> NDArray[np.bool_]:
    inside = [(places >= 0) & (places < 1) for places in (rows, columns)]
    return inside[0][:, np.newaxis] & inside[1]


def _cubic(centres: Numbers, length: int) -> tuple[NDArray[np.intp], Shares]:
    """[4, centres] each: of which of `length` values the value at each centre is made, and with which weights.

    Keys, "Cubic convolution interpolation for digital image processing" (1981), with a = -1/2; at the ends, the
    outermost value goes on.
    """
    centres = np.clip(centres, -0.5, length - 0.5)
    first = np.floor(centres).astype(np.intp)
    places, weights = [], []
    for step in range(-1, 3):
        distance = np.abs(centres - (first + step))
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights.append(np.where(distance <= 1, near, np.where(distance < 2, far, 0.0)).astype(np.float32))
        places.append(np.clip(first + step, 0, length - 1))
    return np.stack(places), np.stack(weights)
