"""Numbers -> the array that the card asks for: signals, volumes and tensors, as `reading` has it for pictures."""

import json
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest, Unprocessable
from service.inference.contract.card import InputCard
from service.inference.inputs.normalising import normalised

Array = NDArray[Any]

_STRANGE = {list: "an array", dict: "an object", str: "a string", bool: "a boolean", type(None): "null"}


def read_instance(instance: object, card: InputCard, *, index: int = 0) -> NDArray[np.generic]:
    """One input of the model from nested lists of numbers, as JSON has them; `index` is its place in the request.

    They have the shape `card.shape`, or that without the axis of a single channel. The answer has that shape and dtype
    `card.dtype`, is writable and C-contiguous: whole numbers from 0 to 255 for uint8, `(value * scale - mean) / std`
    for floats. Raises InvalidRequest for another shape, uneven lists, and whatever else is no such number;
    Unprocessable when the card wants a picture.
    """
    if card.kind == "image":
        raise Unprocessable("the model takes a picture, not numbers")
    shape, shapes = _shape(instance), _shapes(card)
    if not isinstance(instance, list) or shape not in shapes:
        found = f"shape {_written(shape)}" if isinstance(instance, list) else _shown(instance)
        raise InvalidRequest(
            f"instance {index}: {found}, expected numbers of shape {' or '.join(map(_written, shapes))}"
        )
    values = flattened(instance, shape)
    if values is None:
        raise InvalidRequest(f"instance {index}: its lists are not all as long, expected the shape {_written(shape)}")
    return _Numbers(values, shape, card, index).array()


def flattened(nested: list[Any], shape: Sequence[int]) -> list[Any] | None:
    """The values in row-major order; None where the lists are not nested as the shape says."""
    level: list[Any] = [nested]
    for extent in shape:
        if not all(isinstance(item, list) and len(item) == extent for item in level):
            return None
        level = list(chain.from_iterable(level))
    return level


class _Numbers:
    """The values of one instance in row-major order, of which nothing is known yet."""

    def __init__(self, values: list[Any], shape: tuple[int, ...], card: InputCard, index: int) -> None:
        self._values = values
        self._shape = shape
        self._card = card
        self._index = index
        whole = card.dtype == "uint8"
        self._types: set[type] = {int} if whole else {int, float}
        self._expected = "whole numbers from 0 to 255" if whole else f"numbers that {card.dtype} can hold"

    def array(self) -> Array:
        if set(map(type, self._values)) - self._types:
            raise self._refusal(lambda value: type(value) not in self._types)
        return self._whole() if self._card.dtype == "uint8" else self._floats()

    def _whole(self) -> Array:
        try:
            return np.array(self._values, np.uint8).reshape(self._card.shape)
        except OverflowError as error:
            raise self._refusal(lambda value: not 0 <= value <= 255) from error

    def _floats(self) -> Array:
        largest = float(np.finfo(np.float64).max)
        try:
            with np.errstate(all="ignore"):
                array = self._normalised(np.array(self._values, np.float64).reshape(self._card.shape))
        except OverflowError as error:  # a whole number of hundreds of digits
            raise self._refusal(lambda value: not -largest <= value <= largest) from error
        if not (finite := np.isfinite(array)).all():
            raise self._refused(int(finite.argmin()))
        return array

    def _normalised(self, array: Array) -> Array:
        channels = -1 if self._card.layout == "NHWC" else 0
        values = np.moveaxis(normalised(np.moveaxis(array, channels, -1), self._card), -1, channels)
        return values.astype(self._card.dtype, order="C")

    def _refusal(self, wrong: Callable[[Any], bool]) -> InvalidRequest:
        return self._refused(next(place for place, value in enumerate(self._values) if wrong(value)))

    def _refused(self, place: int) -> InvalidRequest:
        """The refusal of the value at that place in row-major order."""
        at = _written([int(number) for number in np.unravel_index(place, self._shape)])
        found = _shown(self._values[place])
        return InvalidRequest(f"instance {self._index}: {found} at {at}, expected {self._expected}")


def _shapes(card: InputCard) -> list[tuple[int, ...]]:
    """The shapes that an instance may have."""
    return [card.size, card.shape] if card.channels == 1 else [card.shape]


def _shape(nested: object) -> tuple[int, ...]:
    """The shape that nested lists have, if they are even: that of each first item."""
    lengths = []
    while isinstance(nested, list):
        lengths.append(len(nested))
        nested = nested[0] if nested else None
    return tuple(lengths)


def _shown(value: object) -> str:
    return _STRANGE.get(type(value)) or json.dumps(value)[:30]


def _written(numbers: Sequence[int]) -> str:
    """A shape or a place, for a sentence; the client may have sent a very long one."""
    return f"[{', '.join(map(str, numbers))[:200]}]"
