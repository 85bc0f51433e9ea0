"""Layout: where a layer keeps the inputs of a run, and where its channels."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.inference.graph.channels import CHANNELS
from service.inference.graph.shapes import Dimension, Shape

Array = NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """Of one layer: transformers and recurrent networks keep the inputs elsewhere than first, some layers nowhere."""

    batch: int | None
    """The axis of the inputs; None: it has none."""
    channels: int
    """The axis of the channels, once the inputs come first."""
    alone: bool
    """Whether inputs are run one at a time, so that all that a layer yields belongs to that one.

    Because the model runs so, or because nobody knows where this layer keeps them: a length that happens to be their
    number proves nothing.
    """

    @classmethod
    def of(cls, shape: Shape | None, channels: int | None, *, alone: bool) -> Self:
        """`channels` is their axis in `shape`; None where that is not known: then it is the first after the inputs."""
        alone = alone or _is_unknown(shape)
        batch = _batch(shape, alone=alone)
        if channels is None or channels == batch:
            return cls(batch, CHANNELS, alone)
        return cls(batch, channels + 1 if batch is None or channels < batch else channels, alone)

    @property
    def of_one_input(self) -> bool:
        """Whether what it yields belongs to single inputs, as far as that is known before the run."""
        return self.alone or self.batch is not None

    def lengths(self, shape: Shape) -> Shape:
        """Those of one input, of 1 first; where it belongs to none, those of all."""
        rest: tuple[Dimension, ...] = shape if self.batch is None else shape[: self.batch] + shape[self.batch + 1 :]
        return (1, *rest)

    def rows(self, values: Array, count: int) -> Array | None:
        """`values` of a run of `count` inputs with these as the first axis; None where it belongs to no single one."""
        if self.batch is not None and values.ndim > self.batch and values.shape[self.batch] == count:
            return np.moveaxis(values, self.batch, 0)
        return values[np.newaxis] if self.alone else None


def _is_unknown(shape: Shape | None) -> bool:
    """Whether the inputs may be first, or nowhere."""
    return shape is None or (shape[:1] == (None,) and "N" not in shape)


def _batch(shape: Shape | None, *, alone: bool) -> int | None:
    """The first axis, where that is not known: `Layout.rows` sees whether it is."""
    if shape is None:
        return 0
    if "N" in shape:
        return shape.index("N")
    return 0 if alone and shape[:1] in ((None,), (1,)) else None
