"""Occlusion: hide one part of the input after the other, and see what becomes of a class.

Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014), section 4.2.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.inference.contract.card import InputCard

CELLS = {1: 64, 2: 14, 3: 6}
"""Most places along one axis of a signal, a picture, a volume: some two hundred at most in all.

What is hidden is three of them wide, so that neighbours overlap.
"""
FEWEST = 3  # along each of more axes

Array = NDArray[Any]
Box = tuple[slice, ...]


def grid(card: InputCard) -> tuple[int, ...]:
    """How many places there are along each axis in space, down and across for a picture; no more than pixels."""
    return tuple(min(extent, CELLS.get(len(card.size), FEWEST)) for extent in card.size)


def boxes(card: InputCard) -> list[Box]:
    """What is hidden for each place of the grid, row by row, along each axis in space of the input."""
    return list(product(*(_stretches(extent, cells) for extent, cells in zip(card.size, grid(card), strict=True))))


def hidden(pixels: Array, box: Box, card: InputCard) -> Array:
    """A copy of one input, in the card's layout, where `box` has the mean of each channel over the whole input."""
    first = 0 if card.layout == "NHWC" else 1
    mean = pixels.mean(axis=tuple(range(first, first + len(card.size))), dtype=np.float64, keepdims=True)
    copy = pixels.copy()
    copy[box if card.layout == "NHWC" else (slice(None), *box)] = np.rint(mean) if pixels.dtype.kind == "u" else mean
    return copy


def _stretches(extent: int, cells: int) -> Iterator[slice]:
    """Each cell of `extent` pixels with its neighbours."""
    edges = np.rint(np.linspace(0, extent, cells + 1)).astype(int).tolist()
    for cell in range(cells):
        yield slice(edges[max(cell - 1, 0)], edges[min(cell + 2, cells)])
