"""Selection: which channels of a layer are wanted, and what becomes of their space."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest, UnknownName

Array = NDArray[Any]
Pool = Literal["mean", "max"]
Span = tuple[int, int]

_SPAN = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)


@dataclass(frozen=True)
class Selection:
    """Some channels, or all of them; as they are, or each as one number over space."""

    spans: tuple[Span, ...] = ()
    """First and last channel of each span, in the order asked for; none: all channels."""
    pool: Pool | None = None

    @classmethod
    def of(cls, channels: Sequence[str], pool: Pool | None = None) -> Self:
        """From the words of a request: "3", "8-15". Raises InvalidRequest for any other word."""
        return cls(tuple(map(_span, channels)), pool)

    def __bool__(self) -> bool:
        """Whether anything is cut at all."""
        return bool(self.spans or self.pool)

    def numbers(self, layer: str, count: int) -> range | list[int]:
        """The channels wanted of the `count` that `layer` has, each once, in the order asked for.

        Raises UnknownName for one that it does not have.
        """
        if not self.spans:
            return range(count)
        for _, last in self.spans:
            if last >= count:
                nearest = (str(number) for number in range(max(count - 3, 0), count))
                raise UnknownName(f"channel of layer {layer!r}, which has {count},", str(last), nearest)
        return self.named or []

    @property
    def named(self) -> list[int] | None:
        """The channels asked for; None: all. Only once it is known that they are there: a span may be endless."""
        if not self.spans:
            return None
        return list(dict.fromkeys(number for first, last in self.spans for number in range(first, last + 1)))

    def size(self, layer: str, shape: Sequence[int], axis: int) -> int:
        """How many numbers are left of `shape` (see `cut`). Raises what `numbers` raises."""
        if len(shape) < 2:
            return math.prod(shape)
        space = 1 if self.pool else math.prod(shape) // max(shape[0] * shape[axis], 1)
        return shape[0] * len(self.numbers(layer, shape[axis])) * space

    def cut(self, layer: str, values: Array, axis: int) -> Array:
        """`values` [N, ..., C, ...], C at `axis`, with just the channels wanted; pooled over space: [N, C].

        A mean is computed in float64 and given in the type of `values`, or as float32 where that is no float. A maximum
        over no place at all is NaN. What has no channels (rank 0 and 1) stays as it is. Raises what `numbers` raises.
        """
        if values.ndim < 2:
            return values
        if self.spans:
            values = values.take(self.numbers(layer, values.shape[axis]), axis)
        return values if self.pool is None else _pooled(values, axis, self.pool)


EVERYTHING = Selection()


def _span(word: str) -> Span:
    match = _SPAN.fullmatch(word.strip())
    first = int(match[1]) if match else 0
    last = int(match[2]) if match and match[2] else first
    if match is None or last < first:
        raise InvalidRequest(f"channel {word[:50]!r} is neither a number, as 3, nor a range, as 8-15")
    return first, last


def _pooled(values: Array, axis: int, pool: Pool) -> Array:
    space = tuple(place for place in range(1, values.ndim) if place != axis)
    if not space:
        return values
    float_type = values.dtype if values.dtype.kind == "f" else np.dtype(np.float32)
    if not all(values.shape[place] for place in space):
        return np.full((values.shape[0], values.shape[axis]), np.nan, float_type)
    if pool == "max":
        return np.asarray(values.max(axis=space))
    return np.asarray(values.mean(axis=space, dtype=np.float64), float_type)
