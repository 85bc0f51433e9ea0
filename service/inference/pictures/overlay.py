"""A map of the model's input laid over the picture that the input was made from."""

import io
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.inference.contract.card import InputCard
from service.inference.pictures.viridis import viridis

Numbers = NDArray[np.float64]

STRONGEST = 0.75  # of the colour, where the map is highest; the rest is the picture
UNSEEN = 0.4  # brightness of what the model was not shown
TILE = (64, 8192)  # height and width of what is blended at a time: a picture may be as wide as it has pixels


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
    image: Image.Image, values: Numbers, card: InputCard, spacing: tuple[Spacing, Spacing] | None = None
) -> bytes:
    """A PNG of the size of `image` ("RGB", upright), in colours where `values` [H, W] of the model's input are high.

    The map is made larger by Catmull-Rom's cubic; nothing is coloured where it is 0 or less, and its highest value is
    yellow (viridis). What the model was not shown is dark. `spacing`, down and across, says where the places lie, by
    default evenly over the whole input.
    """
    down, across = spans(image.size, card)
    lines, posts = spacing or (Spacing.even(values.shape[0]), Spacing.even(values.shape[1]))
    pixels = np.array(image)
    height, width = pixels.shape[:2]
    with np.errstate(invalid="ignore"):
        finite = np.where(np.isfinite(values), values, 0.0)
    highest = float(finite.max(initial=0.0))
    shares = np.clip(finite, 0, None) / highest if highest > 0 else np.zeros(values.shape)
    for top in range(0, height, TILE[0]):
        rows = down.places(top, min(top + TILE[0], height), height)
        for left in range(0, width, TILE[1]):
            columns = across.places(left, min(left + TILE[1], width), width)
            tile = pixels[top : top + TILE[0], left : left + TILE[1]]
            sampled = _sampled(shares, (rows - lines.first) / lines.step, (columns - posts.first) / posts.step)
            tile[:] = _blended(tile, sampled, _seen(rows, columns))
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _seen(rows: Numbers, columns: Numbers) -> NDArray[np.bool_]:
    inside = [(places >= 0) & (places < 1) for places in (rows, columns)]
    return inside[0][:, np.newaxis] & inside[1]


def _sampled(values: Numbers, rows: Numbers, columns: Numbers) -> Numbers:
    """`values` at these places of the map, in its own rows and columns and parts of them: [rows, columns]."""
    sampled = _cubic(rows, values.shape[0]) @ values @ _cubic(columns, values.shape[1]).T
    return np.clip(sampled, 0, 1)


def _cubic(centres: Numbers, length: int) -> Numbers:
    """[centres, length]: the weights with which a value at each centre is made of the `length` values of the map.

    Keys, "Cubic convolution interpolation for digital image processing" (1981), with a = -1/2; at the ends, the
    outermost value goes on.
    """
    centres = np.clip(centres, -0.5, length - 0.5)
    first = np.floor(centres).astype(int)
    weights = np.zeros((len(centres), length))
    for step in range(-1, 3):
        distance = np.abs(centres - (first + step))
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
        weights[np.arange(len(centres)), np.clip(first + step, 0, length - 1)] += weight
    return weights


def _blended(pixels: NDArray[np.uint8], shares: Numbers, seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    strength = (np.where(seen, shares, 0) * STRONGEST)[..., np.newaxis].astype(np.float32)
    light = np.where(seen, 1, UNSEEN)[..., np.newaxis].astype(np.float32)
    return np.asarray(pixels * light * (1 - strength) + viridis(shares) * strength + 0.5, np.float32).astype(np.uint8)
