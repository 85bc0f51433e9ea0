"""Receptive field: which pixels of the input a place of a layer sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Span:
    """Along one axis: place i of a layer sees the input's places from `start + i * step` on, `size` of them.

    `start` is negative where padding comes first. Borders aside: there, a place sees the part that lies in the input.
    """

    size: int = 1
    step: int = 1
    start: int = 0

    def through(self, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Self:
        """What a window over this layer sees; `padding` counts the places before the first.

        Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", Distill 2019, equations
        (1) to (3), from the input onwards: the size grows by (kernel - 1) * dilation * step, the step is multiplied by
        the stride, the start goes back by padding * step.
        """
        return type(self)(
            self.size + (kernel - 1) * dilation * self.step, self.step * stride, self.start - padding * self.step
        )

    def union(self, other: Self) -> Self | None:
        """What is seen by either way; None where the two drift apart, so that no one size is right for each place."""
        if self.step != other.step:
            return None
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return type(self)(end - start, self.step, start)


@dataclass(frozen=True)
class ReceptiveField:
    """In pixels of the input: numbers where all its axes of space agree, else one for each, in their order."""

    size: int | tuple[int, ...]
    step: int | tuple[int, ...]
    start: int | tuple[int, ...]

    @classmethod
    def of(cls, spans: Sequence[Span]) -> Self:
        """From one span per axis, at least one."""
        if len(set(spans)) == 1:
            return cls(spans[0].size, spans[0].step, spans[0].start)
        return cls(
            tuple(span.size for span in spans), tuple(span.step for span in spans), tuple(span.start for span in spans)
        )
