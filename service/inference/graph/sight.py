"""Sight: what a tensor of an ONNX graph sees of the graph's inputs, axis by axis, and where those axes lie in it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from service.inference.graph.receptive_field import Span

Source = tuple[str, int]
"""An input of the graph, and one of its axes."""


@dataclass(frozen=True)
class Place:
    """Where an axis of an input lies in a tensor, and what an index there sees of it; None: all, or nothing regular."""

    axis: int
    span: Span | None
    even: bool = True
    """Whether the places along it are in their order and cover all of the input's axis, evenly or nearly so.

    As behind windows, also where the picture as a whole is mixed in; not behind a slice, a join or padding of its own.
    """


@dataclass(frozen=True)
class Sight:
    """The inputs that a tensor's values depend on, and the axes of theirs that can be found in it again.

    An axis that cannot be found is seen whole from everywhere. Values that depend on no input at all, or on nothing
    but its shape, have an empty sight.
    """

    inputs: frozenset[str] = frozenset()
    places: Mapping[Source, Place] = field(default_factory=dict)

    @classmethod
    def of_input(cls, name: str, rank: int) -> Self:
        """An input sees itself, place by place."""
        return cls(frozenset({name}), {(name, axis): Place(axis, Span()) for axis in range(rank)})

    @classmethod
    def union(cls, sights: Iterable[Self]) -> Self:
        """What several operands see together, place by place."""
        sights = list(sights)
        places = {}
        for source in {source: None for sight in sights for source in sight.places}:
            found = _union([sight.places.get(source) for sight in sights if source[0] in sight.inputs])
            if found:
                places[source] = found
        return cls(frozenset[str]().union(*(sight.inputs for sight in sights)), places)

    @property
    def blurred(self) -> Self:
        """The same inputs, each seen whole."""
        return type(self)(self.inputs)

    def moved(self, to: Callable[[int], int | None]) -> Self:
        """With each axis at another place; None where it is gone."""
        places = {}
        for source, place in self.places.items():
            axis = to(place.axis)
            if axis is not None:
                places[source] = replace(place, axis=axis)
        return type(self)(self.inputs, places)

    def shifted(self, by: int) -> Self:
        """With as many more axes in front."""
        return self.moved(lambda axis: axis + by)

    def changed(self, change: Callable[[int, Span], Span | None]) -> Self:
        """With another span on each axis that has one."""
        places = {
            source: replace(place, span=place.span and change(place.axis, place.span))
            for source, place in self.places.items()
        }
        return type(self)(self.inputs, places)

    def spread(self, axes: Iterable[int]) -> Self:
        """With each place of these axes seeing all of them."""
        wide = set(axes)
        return self.changed(lambda axis, span: None if axis in wide else span)

    def uneven(self, axes: Iterable[int]) -> Self:
        """With places along these axes that do not cover all of the input's, or not in its order."""
        rough = set(axes)
        places = {
            source: replace(place, even=place.even and place.axis not in rough) for source, place in self.places.items()
        }
        return type(self)(self.inputs, places)

    def without(self, axes: Iterable[int]) -> Self:
        """With these axes seen whole, and mixed so that they are not what they were."""
        gone = set(axes)
        return self.moved(lambda axis: None if axis in gone else axis)

    def closed_up(self, axes: Iterable[int]) -> Self:
        """With these axes gone, and those behind moved up."""
        gone = set(axes)
        return self.moved(lambda axis: None if axis in gone else axis - sum(other < axis for other in gone))

    @property
    def wide_in_space(self) -> Self:
        """With each place seeing all others, of the same input and the same channel."""
        return self.changed(lambda axis, span: span if axis < 2 else None)

    def sources(self, first: int) -> list[Source]:
        """What lies at the axes from `first` on."""
        return [source for source, place in self.places.items() if place.axis >= first]


def _union(places: Sequence[Place | None]) -> Place | None:
    found = [place for place in places if place]
    if len(found) < len(places) or len({place.axis for place in found}) != 1:
        return None
    span = found[0].span
    for place in found[1:]:
        span = span.union(place.span) if span and place.span else None
    return Place(found[0].axis, span, all(place.even for place in found))
