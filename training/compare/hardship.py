"""Hardship: the test pictures shifted, or with a patch covered, and how many of them are still recognised."""

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.examples import Examples
from training.loop import judge

DIRECTIONS = tuple(way for way in product((-1, 0, 1), repeat=2) if any(way))  # down and right, in steps of one
DISTANCES = tuple(range(9))
SIDES = tuple(range(0, 21, 2))
DRAWS = 3


def by_shift(network: nn.Module, examples: Examples) -> tuple[tuple[float, ...], ...]:
    """Accuracy at each of DISTANCES, in each of DIRECTIONS; diagonally it is that many pixels along both axes."""
    unmoved = judge(network, examples)[1]
    return tuple(
        tuple(accuracy_shifted(network, examples, far * down, far * right) for down, right in DIRECTIONS)
        if far
        else (unmoved,) * len(DIRECTIONS)
        for far in DISTANCES
    )


def accuracy_shifted(network: nn.Module, examples: Examples, down: int, right: int) -> float:
    """Share of shifted pictures that are recognised."""
    return judge(network, examples._replace(inputs=shifted(examples.inputs, down, right)))[1]


def shifted(pictures: Tensor, down: int, right: int) -> Tensor:
    """Pictures [count, height, width, channels] moved by whole pixels; black, 0, comes in at the edge."""
    return functional.pad(pictures, (0, 0, right, -right, down, -down))


def by_patch(network: nn.Module, examples: Examples) -> tuple[tuple[float, ...], ...]:
    """Accuracy with a black square of each of SIDES on every picture, in each of DRAWS draws of its places.

    The places are the same for every network.
    """
    return tuple(
        tuple(
            judge(network, examples._replace(inputs=covered(examples.inputs, side, 1000 * side + draw)))[1]
            for draw in range(DRAWS if side else 1)
        )
        for side in SIDES
    )


def covered(pictures: Tensor, side: int, seed: int) -> Tensor:
    """Pictures [count, height, width, channels], each with a black square, all of it inside, at a place of its own."""
    random = torch.Generator().manual_seed(seed)
    count, *extents = pictures.shape[:3]
    within = []
    for axis, extent in enumerate(extents, 1):
        start = torch.randint(extent - side + 1, (count, 1), generator=random)
        place = torch.arange(extent)
        inside = (place >= start) & (place < start + side)
        within.append(inside.unsqueeze(3 - axis).unsqueeze(-1))
    return pictures.masked_fill(within[0] & within[1], 0)


def black_edge(pictures: Tensor) -> float:
    """The share of the outermost pixels of [count, height, width, channels] that are black."""
    outer = torch.ones(pictures.shape[1:3], dtype=torch.bool)
    outer[1:-1, 1:-1] = False
    return float((pictures[:, outer] == 0).all(dim=-1).float().mean())
