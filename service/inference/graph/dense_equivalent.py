"""Dense equivalent: the weights of a convolution at each step that leads to it from a dense layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Self


@dataclass(frozen=True)
class DenseEquivalent:
    """How many weights the same map from tensor to tensor takes; biases left out, None where extents are unknown."""

    dense: int | None
    """One for each pair of a number in and a number out."""
    shared: int | None
    """Translation invariance: a weight depends on the channels and on the offset between the places, however far."""
    local: int
    """Locality, dilation and groups: what the convolution has."""

    @classmethod
    def of(cls, inside: Sequence[int], outside: Sequence[int], local: int, stride: Sequence[int]) -> Self:
        """Of a convolution from [channels, *extents] `inside` to `outside`.

        An output at o reads the input at i through the weight of the offset i - o * stride. Along an axis of `I` places
        in and `O` out these are I + (O - 1) * min(stride, I) different offsets: 2 * I - 1 for stride 1 and O = I; from
        a stride of I on no two places share any. A transposed convolution is the same with in and out exchanged.
        """
        offsets = (
            places + (others - 1) * min(step, places)
            for places, others, step in zip(inside[1:], outside[1:], stride, strict=True)
        )
        return cls(prod(inside) * prod(outside), inside[0] * outside[0] * prod(offsets), local)

    @classmethod
    def total(cls, parts: Sequence[Self]) -> Self | None:
        """Sums over all convolutions; None where there are none."""
        if not parts:
            return None
        return cls(_sum([part.dense for part in parts]), _sum([part.shared for part in parts]), _local(parts))


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _local(parts: Sequence[DenseEquivalent]) -> int:
    return sum(part.local for part in parts)
