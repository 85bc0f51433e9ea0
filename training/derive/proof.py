"""What a proof is: two ways to the same numbers, and how far apart they end."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-12
UNPROVED = 1  # exit status of a command one of whose claims does not hold


@dataclass(frozen=True)
class Step:
    """A claim, the weights that are left if it is granted (None where there are none to count), and its proof."""

    claim: str
    weights: int | None
    difference: float
    """The largest between two sides that must be equal, of all pairs that were compared."""

    @property
    def holds(self) -> bool:
        """Whether the sides are equal; a NaN is equal to nothing."""
        return self.difference <= TOLERANCE


def apart(*pairs: tuple[Tensor | int, Tensor | int]) -> float:
    """Largest difference within the pairs; infinite where shapes differ, as nothing may be broadcast, and for a NaN."""
    return max(_apart(torch.as_tensor(one), torch.as_tensor(other)) for one, other in pairs)


def _apart(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float((one - other).abs().nan_to_num(nan=float("inf"), posinf=float("inf")).max())


class Numbers:
    """Random whole numbers in float64: their sums are exact in any order, so that equal means equal."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)

    def weights(self, *shape: int) -> Tensor:
        """All different, none 0, of both signs: what is tied, and what is gone, can be counted afterwards."""
        count = torch.Size(shape).numel()
        signs = 1 - 2 * torch.randint(2, (count,), generator=self.random)
        return ((1 + torch.randperm(count, generator=self.random)) * signs).reshape(shape).double()

    def picture(self, *shape: int) -> Tensor:
        """Pixels from 1 to 255."""
        return torch.randint(1, 256, shape, generator=self.random).double()


def different(weights: Tensor) -> int:
    """How many different weights there are; 0 is none."""
    return len(set(weights[weights != 0].tolist()))


def all_hold(steps: Sequence[Step]) -> bool:
    """Whether every claim is proved."""
    return all(step.holds for step in steps)
