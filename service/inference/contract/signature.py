"""What a model takes and gives, in the words of the Open Inference Protocol, and whether a feed fits it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from numpy.typing import NDArray

from service.errors import InvalidRequest, UnknownName
from service.inference.contract.datatypes import of_dtype, of_onnxruntime

FREE = -1


class Value(Protocol):
    """What onnxruntime says of an input or output."""

    name: str
    type: str
    shape: Sequence[int | str | None]


@dataclass(frozen=True)
class Tensor:
    """An input or output; an extent of -1 is free. A type that the protocol lacks keeps onnxruntime's name.

    onnxruntime gives the shape [] to a tensor of unknown rank, too.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, value: Value) -> Self:
        """The same, in the protocol's words."""
        extents = (extent if isinstance(extent, int) else FREE for extent in value.shape)
        return cls(value.name, of_onnxruntime(value.type), tuple(extents))

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an array of `shape` may be it."""
        if not self.shape:
            return True
        return len(shape) == len(self.shape) and all(
            wanted in (FREE, given) for wanted, given in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of one model; `batches`: the first axis of each is the rows, as many as one likes."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batches: bool

    @classmethod
    def of(cls, inputs: Sequence[Value], outputs: Sequence[Value], *, batches: bool) -> Self:
        """From what onnxruntime says of a session."""
        return cls(tuple(map(Tensor.of, inputs)), tuple(map(Tensor.of, outputs)), batches)

    @property
    def fixed_batch(self) -> int | None:
        """How many rows every run takes, where all inputs have the same fixed first extent; else None."""
        firsts = {tensor.shape[0] if tensor.shape else FREE for tensor in self.inputs}
        return None if len(firsts) != 1 or FREE in firsts else firsts.pop()

    def rows(self, feed: Mapping[str, NDArray[Any]]) -> int:
        """How many rows a feed that fits has; 1 for a model that takes it whole."""
        return len(next(iter(feed.values()))) if self.batches else 1

    def check(self, feed: Mapping[str, NDArray[Any]]) -> None:
        """Raises InvalidRequest unless `feed` has the inputs, all of them and no others, in their types and shapes."""
        wanted = {tensor.name: tensor for tensor in self.inputs}
        for name in feed:
            if name not in wanted:
                raise InvalidRequest(str(UnknownName("input", name[:200], wanted)))
        for name, tensor in wanted.items():
            if name not in feed:
                raise InvalidRequest(f"input {name!r} is missing: {tensor.datatype} of shape {list(tensor.shape)}")
            if (given := of_dtype(feed[name].dtype)) != tensor.datatype:
                raise InvalidRequest(f"input {name!r} is {tensor.datatype}, not {given}")
            if not tensor.fits(feed[name].shape):
                shape = list(feed[name].shape)
                raise InvalidRequest(f"input {name!r} has the shape {list(tensor.shape)}, which {shape} does not fit")
        if self.batches and len({len(array) for array in feed.values()}) > 1:
            raise InvalidRequest("the inputs have not all the same number of rows: their first axes differ")
