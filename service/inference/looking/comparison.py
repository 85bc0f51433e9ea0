"""How far two models' layers are apart for the same inputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass
class LayerComparison:
    """One layer of two models, over the inputs added so far; None where their shapes differ, or nothing is finite."""

    name: str
    shape: tuple[int, ...] = ()
    """Of one input, in the first model."""
    against_shape: tuple[int, ...] = ()
    largest_difference: float | None = None
    """The largest distance between two numbers at the same place."""
    magnitude: float | None = None
    """The largest magnitude in the first model, to hold the difference against."""
    product: float = 0.0
    squares: float = 0.0
    against_squares: float = 0.0

    @property
    def cosine(self) -> float | None:
        """Cosine similarity of all numbers, from -1 to 1: 1 for the same direction. None where one has no length."""
        if self.largest_difference is None:
            return None
        length = float(np.sqrt(self.squares) * np.sqrt(self.against_squares))
        cosine = self.product / length if length else float("nan")
        return min(max(cosine, -1.0), 1.0) if np.isfinite(cosine) else None

    def add(self, values: Array, against: Array) -> None:
        """What both models yielded for one more input, batch of 1 included or not; computed in float64."""
        self.shape, self.against_shape = values.shape, against.shape
        if values.shape != against.shape or not values.size:
            return
        ours, theirs = values.astype(np.float64).ravel(), against.astype(np.float64).ravel()
        with np.errstate(invalid="ignore", over="ignore"):
            difference, magnitude = float(np.abs(ours - theirs).max()), float(np.abs(ours).max())
            self.product += float(ours @ theirs)
            self.squares += float(ours @ ours)
            self.against_squares += float(theirs @ theirs)
        if np.isfinite(difference):
            self.largest_difference = max(self.largest_difference or 0.0, difference)
            self.magnitude = max(self.magnitude or 0.0, magnitude)
