"""The weights of a layer: its kernels or its matrix, as a picture, as exact arrays, or summed up."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from service.api.answers import JSON, NPZ, PNG, acceptable, json_answer, sized
from service.api.examples import WEIGHT_LAYER
from service.api.presence import while_wanted
from service.api.schemas import BINARY, WeightSummary
from service.api.services import Served, ServicesOf
from service.errors import TooLarge
from service.inference.graph.weights import LayerWeights, layer_weights
from service.inference.looking.archive import npz
from service.inference.looking.channel_statistics import statistics
from service.inference.pictures.kernel_sheet import kernel_sheet
from service.inference.serving.model import ServedModel

router = APIRouter(tags=["look inside"])

LayerName = Annotated[
    str,
    Query(description="a layer with a kernel or a matrix, by its name in `GET .../layers`", examples=[WEIGHT_LAYER]),
]


@router.get(
    "/weights", response_model=WeightSummary, responses={200: {"content": {JSON: {}, PNG: BINARY, NPZ: BINARY}}}
)
async def weights(request: Request, served: Served, services: ServicesOf, layer: LayerName) -> Response:
    """The kernels of a convolution or the matrix of a dense layer, with what the exporter folded into it.

    As `application/x-npz`: exactly, as `weight` and, if there is one, `bias`; quantised ones dequantised. As
    `application/json`: shapes and statistics. As `image/png`: in colour where they look at three channels, else a tile
    per pair of channels, or the norms of these where they would be too many; a dense layer behind a flatten as the
    picture that each of its outputs looks for, else as its matrix.

    A layer that is there but has neither kernel nor matrix is answered with 406.
    """
    media_type = acceptable(request, [JSON, PNG, NPZ])
    served.graph.layer(layer)

    def answer() -> Response:
        found = layer_weights(served.feature_maps.model, served.graph, layer, served.channel_axes)
        return _ENCODERS[media_type](served, found, services.settings.max_answer_bytes)

    return await while_wanted(request, asyncio.to_thread(answer), services.settings.timeout_ms)


def _as_json(served: ServedModel, found: LayerWeights, limit: int) -> Response:
    arrays = [_summary(found, name) for name in found.arrays]
    head = {"model": served.name, "version": served.version, "layer": found.layer, "op": found.op}
    return json_answer({**head, "folded": list(found.folded), "arrays": arrays}, limit)


def _summary(found: LayerWeights, name: str) -> dict[str, Any]:
    array = found.arrays[name]
    numbers = statistics(array.reshape(1, -1))
    axes = found.axes if name == "weight" else ("out",) * array.ndim
    shown = {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "axes": list(axes)}
    return {**shown, **{name: number for name, [number] in vars(numbers).items()}}


def _as_png(served: ServedModel, found: LayerWeights, limit: int) -> Response:
    colour: Literal["RGB", "BGR"] = "BGR" if served.card and served.card.input.colour == "BGR" else "RGB"
    note = f"folded into it: {', '.join(found.folded)}" if found.folded else ""
    return sized(kernel_sheet(found.kernels(), found.layer, note, colour), PNG, limit)


def _as_npz(served: ServedModel, found: LayerWeights, limit: int) -> Response:  # noqa: ARG001
    if (size := sum(array.nbytes for array in found.arrays.values())) > limit:
        raise TooLarge(f"the weights of layer {found.layer!r} take {size} bytes, the limit is {limit}")
    return sized(npz(found.arrays), NPZ, limit)


_ENCODERS: dict[str, Callable[[ServedModel, LayerWeights, int], Response]] = {
    JSON: _as_json,
    PNG: _as_png,
    NPZ: _as_npz,
}
