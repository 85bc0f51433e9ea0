"""How far two models' layers are apart for the same inputs."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass
class LayerComparison:
    """One layer of two models, over the inputs added so far; None where their shapes differ, or nothing is finite.

    All is told of the places where both are finite; how many are not is told beside it.
    """

    name: str
    shape: tuple[int, ...] = ()
    """Of one input, in the first model."""
    against_shape: tuple[int, ...] = ()
    largest_difference: float | None = None
    """The largest distance between two numbers at the same place."""
    magnitude: float | None = None
    """The largest magnitude in the first model, to hold the difference against."""
    not_finite: int = 0
    """Numbers that are NaN or infinity in the first model."""
    against_not_finite: int = 0
    product: float = 0.0
    squares: float = 0.0
    against_squares: float = 0.0

    @property
    def cosine(self) -> float | None:
        """Cosine similarity of the numbers where both are finite, from -1 to 1: 1 for the same direction.

        None where one of the two has no length.
        """
        if self.largest_difference is None:
            return None
        length = float(np.sqrt(self.squares) * np.sqrt(self.against_squares))
        cosine = self.product / length if length else float("nan")
        return min(max(cosine, -1.0), 1.0) if np.isfinite(cosine) else None

    def add(self, values: Array, against: Array) -> None:
        """What both models yielded for one more input; computed in float64."""
        self.shape, self.against_shape = values.shape, against.shape
        ours, theirs = values.astype(np.float64).ravel(), against.astype(np.float64).ravel()
        finite, against_finite = np.isfinite(ours), np.isfinite(theirs)
        self.not_finite += ours.size - int(np.count_nonzero(finite))
        self.against_not_finite += theirs.size - int(np.count_nonzero(against_finite))
        if values.shape != against.shape:
            return
        both = finite & against_finite
        self._measure(*((ours, theirs) if both.all() else (ours[both], theirs[both])))

    def _measure(self, ours: Array, theirs: Array) -> None:
        """Numbers that are finite in both."""
        if not ours.size:
            return
        with np.errstate(invalid="ignore", over="ignore"):
            self.product += float(ours @ theirs)
            self.squares += float(ours @ ours)
            self.against_squares += float(theirs @ theirs)
            difference = float(np.abs(ours - theirs).max())
        self.largest_difference = max(self.largest_difference or 0.0, min(difference, sys.float_info.max))
        self.magnitude = max(self.magnitude or 0.0, float(np.abs(ours).max()))
