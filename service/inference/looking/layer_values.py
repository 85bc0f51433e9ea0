"""LayerValues: what layers yielded, of one run or of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.errors import NotAcceptable
from service.inference.looking.layout import Layout
from service.inference.looking.selection import Selection

Array = NDArray[Any]


@dataclass(frozen=True)
class LayerValues:
    """What the layers yielded, in the order asked for, as onnxruntime gave it; and the seconds that it took."""

    maps: dict[str, Array]
    queue_seconds: float
    infer_seconds: float
    shared: frozenset[str] = frozenset()
    """The layers that belong to no single input, a constant for one; of the others the first axis is the inputs."""

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """What several runs yielded, one after the other, as one run would have; seconds added up.

        Raises NotAcceptable for a layer whose shape depends on the input, and for one that belongs to no single input
        and yet is another in each run.
        """
        shared = parts[0].shared
        maps = {
            name: (_same if name in shared else _joined)(name, [part.maps[name] for part in parts])
            for name in parts[0].maps
        }
        queue, infer = sum(part.queue_seconds for part in parts), sum(part.infer_seconds for part in parts)
        return cls(maps, queue, infer, shared)

    def cut(self, count: int, layouts: Mapping[str, Layout], selection: Selection) -> Self:
        """The `selection` of each layer, inputs first; `count` is how many of them were run.

        Raises what `Selection.cut` raises, and NotAcceptable where a layer that is shared should be cut.
        """
        maps, shared = dict(self.maps), set()
        for name, values in self.maps.items():
            rows = layouts[name].rows(values, count)
            if rows is not None:
                maps[name] = selection.cut(name, rows, layouts[name].channels)
            elif selection:
                raise belongs_to_none(name, values.shape)
            else:
                shared.add(name)
        return replace(self, maps=maps, shared=frozenset(shared))


def belongs_to_none(layer: str, shape: Sequence[object]) -> NotAcceptable:
    """The refusal of whatever needs a layer to be about single inputs."""
    return NotAcceptable(
        f"layer {layer!r} of shape {tuple(shape)} does not belong to single images, so it has neither channels nor "
        "space; ask for application/x-npz, without channel and pool"
    )


def _joined(name: str, values: list[Array]) -> Array:
    if len({value.shape[1:] for value in values}) > 1:
        raise NotAcceptable(f"layer {name!r} has another shape for each input; ask for one input at a time")
    return np.concatenate(values)


def _same(name: str, values: list[Array]) -> Array:
    if any(value.dtype != values[0].dtype or value.tobytes() != values[0].tobytes() for value in values[1:]):
        raise NotAcceptable(
            f"layer {name!r} depends on which images are run together, and another layer asked for with it has to be "
            "run for one image at a time; ask for it apart"
        )
    return values[0]
