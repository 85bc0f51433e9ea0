"""What a request wants to see of which layers, and whether that is there and small enough."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Query

from service.api.answers import BYTES_PER_VALUE
from service.api.examples import LAYER
from service.errors import InvalidRequest, TooLarge
from service.inference.looking.layer_values import belongs_to_none
from service.inference.looking.selection import Pool, Selection
from service.inference.serving.model import ServedModel

LayerNames = Annotated[
    list[str],
    Query(
        alias="layer",
        description="layers by name, as `GET .../layers` lists them",
        examples=[[LAYER]],
    ),
]
Channels = Annotated[
    list[str],
    Query(
        alias="channel",
        description="just these channels of every layer, in this order: numbers from 0, as `3`, and ranges, as `8-15`",
    ),
]
PoolBy = Annotated[
    Pool | None, Query(description="each channel as one number: its mean, or its maximum, over space; `mean` or `max`")
]
ScaleBy = Annotated[
    Literal["layer", "channel"], Query(description="of the picture: one scale for all channels, or one for each")
]
SortBy = Annotated[
    Literal["activity"] | None,
    Query(description="of the picture: the most active channels first, by their mean magnitude; else by their number"),
]

Against = Annotated[
    str | None,
    Query(
        description="compare with this model: `NAME`, or `NAME/VERSION`, as `fashion-mnist/1`; without `layer`, in all "
        "layers that both have"
    ),
]


@dataclass(frozen=True)
class Look:
    """The layers, each once, and what of them: as numbers and as a picture."""

    layers: tuple[str, ...]
    selection: Selection
    scale: Literal["layer", "channel"]
    sort: Literal["activity"] | None
    by_default: bool = False
    """Whether nobody named the layers: what no answer can hold is then left out, not refused."""

    def check(self, served: ServedModel) -> None:
        """Refuse, before anything is read or computed, what is known not to be there.

        Raises UnknownName for a layer or a channel, InvalidRequest for no layer at all, NotAcceptable where a layer
        that belongs to no single picture should be cut.
        """
        if not self.layers:
            raise InvalidRequest("name at least one layer, as ?layer=NAME; `GET .../layers` lists them")
        for layer in self.layers:
            self._numbers(served, layer, cut=True)

    def at_once(self, served: ServedModel, count: int, max_bytes: int) -> int:
        """How many of `count` pictures may be run together so that what they yield stays under the limit.

        As far as shapes are known before the run. Raises TooLarge where what is left of all pictures goes over it, or
        what a single one yields.
        """
        left = sum(self._numbers(served, layer, cut=True) for layer in self.layers) * BYTES_PER_VALUE
        whole = sum(self._numbers(served, layer, cut=False) for layer in self.layers) * BYTES_PER_VALUE
        if left * count > max_bytes:
            raise too_large(left * count, max_bytes)
        if whole > max_bytes:
            raise TooLarge(f"these layers yield {whole} bytes for one picture, the limit is {max_bytes}: name fewer")
        return max(1, max_bytes // max(whole, 1))

    def _numbers(self, served: ServedModel, layer: str, *, cut: bool) -> int:
        """Of one picture; what is not known before the run counts as 1."""
        shape, layout = served.graph.layer(layer).shape, served.layout(layer)
        if shape is None:
            return 1
        if self.selection and not layout.of_one_input:
            raise belongs_to_none(layer, shape)
        axis, selection, given = layout.channels, self.selection if cut else Selection(), layout.lengths(shape)
        unknown = len(given) > axis and not isinstance(given[axis], int)
        lengths = [length if isinstance(length, int) else 1 for length in given]
        return (Selection(pool=selection.pool) if unknown else selection).size(layer, lengths, axis)


def too_large(size: int, limit: int) -> TooLarge:
    """The refusal that says how to cut the answer down."""
    return TooLarge(
        f"the answer would hold {size} bytes of values, the limit is {limit}: cut it down by channel=, by pool=mean or "
        "pool=max, by fewer layers, or by fewer pictures at a time"
    )


async def _look(
    layers: LayerNames = [],  # noqa: B006 - FastAPI copies it
    channels: Channels = [],  # noqa: B006
    pool: PoolBy = None,
    scale: ScaleBy = "layer",
    sort: SortBy = None,
) -> Look:
    return Look(tuple(dict.fromkeys(layers)), Selection.of(channels, pool), scale, sort)


LookOf = Annotated[Look, Depends(_look)]
