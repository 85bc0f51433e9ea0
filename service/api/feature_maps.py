"""Pictures in, feature maps out: as statistics, as a picture, or as exact arrays; or as how far two models differ."""

from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from service.api.answers import JSON, NPZ, PNG, acceptable, json_list_answer, sized
from service.api.bodies import read_body
from service.api.comparison import compare, other_model, shared
from service.api.examples import FEATURE_MAPS
from service.api.inputs import REQUEST_BODY, rows_of
from service.api.looking import Against, Look, LookOf, too_large
from service.api.presence import while_wanted
from service.api.schemas import BINARY, FeatureMapComparison, FeatureMapSummaries
from service.api.services import Inferring, Services, ServicesOf
from service.api.stages import Stages, StagesOf
from service.errors import InvalidRequest, NotAcceptable
from service.inference.looking.archive import npz
from service.inference.looking.feature_maps import LayerValues, statistics
from service.inference.pictures.rendering import View, contact_sheet
from service.inference.serving.model import ServedModel

router = APIRouter(tags=["look inside"])

MOST_VALUES = 4096
"""Numbers of one layer for one picture, up to which JSON gives them all."""


@router.post(
    "/feature-maps",
    response_model=FeatureMapSummaries | FeatureMapComparison,
    responses={200: {"content": {JSON: {"example": FEATURE_MAPS}, PNG: BINARY, NPZ: BINARY}}},
    openapi_extra=REQUEST_BODY,
)
async def feature_maps(
    request: Request,
    served: Inferring,
    services: ServicesOf,
    stages: StagesOf,
    look: LookOf,
    against: Against = None,
) -> Response:
    """What the layers yield for each picture.

    As `application/json`: shape, and statistics per channel; also the values, if at most 4096 are left by `channel` or
    `pool`, or the layer has no space. As `image/png`: one layer for one picture, its channels under their numbers:
    [N, C, H, W] as tiles, [N, C, D, H, W] as the tiles of its middle slice, [N, C, L] as curves, [N, F] as bars. As
    `application/x-npz`: the exact values, an array per layer under its name, first axis the pictures.

    `channel` and `pool` cut all three down; `scale` and `sort` are for the picture. Channels are the axis after the
    batch, unless the graph itself keeps them last.

    With `against`, another model or another version of this one: for each layer that both have, or for those named, the
    cosine similarity and the largest difference between what the two yield for the same pictures, each prepared by its
    own model's card. As `application/json` alone; null where the shapes differ.
    """
    media_type = acceptable(request, [JSON] if against is not None else [JSON, PNG, NPZ])
    other = None if against is None else other_model(services, against)
    if other:
        look = shared(look, served, other)
    else:
        look.check(served)  # what is unknown is refused before the body is read
    body = await read_body(request, services.settings.max_body_bytes)
    if other:
        work = compare(request, body, served, other, services, stages, look)
    else:
        work = _look_inside(request, body, served, services, stages, look, media_type)
    return await while_wanted(request, work, services.settings.timeout_ms)


async def _look_inside(
    request: Request,
    body: bytes,
    served: ServedModel,
    services: Services,
    stages: Stages,
    look: Look,
    media_type: str,
) -> Response:
    rows = await rows_of(request, body, served, services, stages)
    limit = services.settings.max_answer_bytes
    if media_type == PNG and (len(rows), len(look.layers)) != (1, 1):
        raise InvalidRequest(f"a picture shows one layer of one image, not {len(look.layers)} of {len(rows)}")
    at_once = look.at_once(served, len(rows), limit)

    def finish(values: LayerValues) -> Response:
        stages.seconds.update(queue=values.queue_seconds, infer=values.infer_seconds)
        if (size := sum(array.nbytes for array in values.maps.values())) > limit:
            raise too_large(size, limit)
        with stages.measure("encode"):
            return _ENCODERS[media_type](served, look, values, len(rows), limit)

    answer = await served.look_inside(rows, look.layers, finish, look.selection, at_once)
    if stages.statistics:
        stages.statistics.looked_inside(len(rows), stages.seconds["infer"], together=served.model.batches)
    return answer


def _as_json(served: ServedModel, look: Look, values: LayerValues, count: int, limit: int) -> Response:
    per_layer = {name: _per_image(served, name, array, count) for name, array in values.maps.items()}
    images = (
        {"layers": [_summary(served, look, name, arrays[image]) for name, arrays in per_layer.items()]}
        for image in range(count)
    )
    return json_list_answer({"model": served.name, "version": served.version}, "images", images, limit)


def _summary(served: ServedModel, look: Look, name: str, array: NDArray[Any]) -> dict[str, Any]:
    found = statistics(array, _axis(served, look, name, array))
    numbers = look.selection.named or range(len(found.mean))
    columns = zip(numbers, found.mean, found.std, found.min, found.max, found.zeros, strict=False)
    channels = [
        {"channel": number, "mean": mean, "std": std, "min": low, "max": high, "zeros": zeros}
        for number, mean, std, low, high, zeros in columns
    ]
    summary = {"name": name, "op": served.graph.layer(name).op, "shape": array.shape, "channels": channels}
    if array.size <= MOST_VALUES and (look.selection or array.ndim <= 1):
        summary["values"] = array.tolist()
    return summary


def _axis(served: ServedModel, look: Look, name: str, array: NDArray[Any]) -> int:
    """Of the channels in what is left of one picture."""
    return 0 if look.selection.pool or array.ndim <= 1 else served.channel_axis(name) - 1


def _as_png(served: ServedModel, look: Look, values: LayerValues, count: int, limit: int) -> Response:
    [(name, array)] = values.maps.items()
    image = _per_image(served, name, array, count)[0]
    note = f"{look.selection.pool} over space" if look.selection.pool else ""
    view = View(look.scale, look.sort, look.selection.named, note)
    channels_first = np.moveaxis(image, _axis(served, look, name, image), 0) if image.ndim else image
    return sized(contact_sheet(channels_first, name, view), PNG, limit)


def _as_npz(served: ServedModel, look: Look, values: LayerValues, count: int, limit: int) -> Response:  # noqa: ARG001
    return sized(npz(values.maps), NPZ, limit)


def _per_image(served: ServedModel, name: str, array: NDArray[Any], count: int) -> NDArray[Any]:
    """`array`, whose first axis must be the images: where several run at once, its shape says so, not its length."""
    shape = served.graph.layer(name).shape
    other = served.model.batches and shape and shape[0] not in ("N", None)
    if other or not array.shape or len(array) != count:
        raise NotAcceptable(f"layer {name!r} of shape {array.shape} does not belong to single images; ask for {NPZ}")
    return array


_ENCODERS: dict[str, Callable[[ServedModel, Look, LayerValues, int, int], Response]] = {
    JSON: _as_json,
    PNG: _as_png,
    NPZ: _as_npz,
}
