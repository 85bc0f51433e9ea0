"""Scale: which value gets which colour."""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from service.inference.pictures.diverging import DIVERGING
from service.inference.pictures.viridis import VIRIDIS

Array = NDArray[Any]
Colour = tuple[int, int, int]

NOT_FINITE: Colour = (214, 39, 40)  # a red that viridis does not have
NOT_FINITE_DIVERGING: Colour = (0, 200, 60)  # and a green that the other does not have

Palette = Literal["viridis", "diverging", "grey"]

GREYS: NDArray[np.uint8] = np.arange(256, dtype=np.uint8).repeat(3).reshape(-1, 3)

_PALETTES = {
    "viridis": (VIRIDIS, NOT_FINITE),
    "diverging": (DIVERGING, NOT_FINITE_DIVERGING),
    "grey": (GREYS, NOT_FINITE),
}


@dataclass(frozen=True)
class Scale:
    """The values that get the first and the last colour, and how many are not finite."""

    low: float
    high: float
    not_finite: int = 0
    palette: Palette = "viridis"

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

    @classmethod
    def around_zero(cls, values: Array, outliers: float = 0.0, palette: Palette = "diverging") -> Self:
        """As far below 0 as above, so that 0 is in the middle: white, what is negative blue, what is positive red.

        `outliers` is the fraction that may lie beyond the ends.
        """
        magnitudes = np.abs(values[np.isfinite(values)].astype(np.float64))
        scale = Scale.of(magnitudes, outliers)
        return cls(-scale.high, scale.high, values.size - magnitudes.size, palette)

    @classmethod
    def from_zero(cls, values: Array) -> Self:
        """From 0 up, for what is never negative."""
        finite = values[np.isfinite(values)]
        return cls(0.0, float(finite.max()) if finite.size else 0.0, values.size - finite.size)

    def __str__(self) -> str:
        return f"{short(self.low)} to {short(self.high)}"

    @property
    def colour_of_the_lost(self) -> Colour:
        """What is drawn where a value is not finite."""
        return _PALETTES[self.palette][1]

    def fractions(self, values: Array) -> NDArray[np.float64]:
        """Where in the scale each value lies: 0 to 1; 0 where the scale has no length, or the value is not finite."""
        halves = np.where(np.isfinite(values), values, self.low) / 2  # halves: the range of huge values overflows
        length = self.high / 2 - self.low / 2
        place = (halves - self.low / 2) / length if length > 0 else np.full(values.shape, self._nowhere)
        return np.clip(place, 0, 1)

    def colours(self, values: Array) -> NDArray[np.uint8]:
        """RGB [..., 3] for `values` [...]."""
        colours = self.ramp(self.fractions(values))
        colours[~np.isfinite(values)] = self.colour_of_the_lost
        return colours

    def ramp(self, fractions: NDArray[np.float64]) -> NDArray[np.uint8]:
        """RGB [..., 3] for places in the scale, 0 to 1, of any shape [...]."""
        table = _PALETTES[self.palette][0]
        colours: NDArray[np.uint8] = table[np.rint(fractions * (len(table) - 1)).astype(np.intp)]
        return colours

    @property
    def _nowhere(self) -> float:
        return 0.0 if self.palette == "viridis" else 0.5


def short(value: float) -> str:
    """In three digits."""
    return f"{value + 0.0:.3g}"  # adding 0 turns -0 into 0
