"""Occlusion: hide one part of the input after the other, and see what becomes of a class.

Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014), section 4.2.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.inference.contract.card import InputCard

CELLS = 14
"""Most places along one axis. What is hidden is three of them wide, so that neighbours overlap."""

Array = NDArray[Any]
Box = tuple[slice, slice]


def grid(card: InputCard) -> tuple[int, int]:
    """How many places there are, down and across; no more than pixels."""
    height, width = card.size
    return min(height, CELLS), min(width, CELLS)


def boxes(card: InputCard) -> list[Box]:
    """What is hidden for each place of the grid, row by row, as height and width of the input."""
    down, across = (list(_stretches(extent, cells)) for extent, cells in zip(card.size, grid(card), strict=True))
    return list(product(down, across))


def hidden(pixels: Array, box: Box, card: InputCard) -> Array:
    """A copy of one input, in the card's layout, where `box` has the mean of each channel over the whole input."""
    space = (0, 1) if card.layout == "NHWC" else (1, 2)
    mean = pixels.mean(axis=space, dtype=np.float64, keepdims=True)
    copy = pixels.copy()
    copy[box if card.layout == "NHWC" else (slice(None), *box)] = np.rint(mean) if pixels.dtype.kind == "u" else mean
    return copy


def _stretches(extent: int, cells: int) -> Iterator[slice]:
    """Each cell of `extent` pixels with its neighbours."""
    edges = np.rint(np.linspace(0, extent, cells + 1)).astype(int).tolist()
    for cell in range(cells):
        yield slice(edges[max(cell - 1, 0)], edges[min(cell + 2, cells)])
