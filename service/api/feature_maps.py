"""Pictures in, feature maps out: as statistics, as a picture, or as exact arrays; or as how far two models differ."""

from collections.abc import Callable, Mapping
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
from service.errors import InvalidRequest
from service.inference.looking.archive import npz
from service.inference.looking.channel_statistics import statistics
from service.inference.looking.layer_values import LayerValues, belongs_to_none
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
    `application/x-npz`: the exact values, an array per layer under its name, first axis the pictures, wherever the
    graph has them; a layer that belongs to no single picture, a constant for one, is there once and as it is.

    `channel` and `pool` cut all three down; `scale` and `sort` are for the picture. Channels are the axis after the
    batch, unless the graph itself keeps them last.

    With `against`, another model or another version of this one: for each layer that both have, or for those named, the
    cosine similarity and the largest difference between what the two yield for the same pictures, each prepared by its
    own model's card. As `application/json` alone; null where the shapes differ, or no number is finite in both: what is
    not is counted for each. Without `layer`, what no answer can hold, text for one, is left out.
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
            return _ENCODERS[media_type](served, look, values, limit)

    answer = await served.look_inside(rows, look.layers, finish, look.selection, at_once)
    if stages.statistics:
        stages.statistics.looked_inside(len(rows), stages.seconds["infer"], together=served.model.batches)
    return answer


def _as_json(served: ServedModel, look: Look, values: LayerValues, limit: int) -> Response:
    per_layer = {name: _per_image(values, name) for name in values.maps}
    images = (
        {"layers": [_summary(served, look, name, arrays[image]) for name, arrays in per_layer.items()]}
        for image in range(len(next(iter(per_layer.values()))))
    )
    try:
        return json_list_answer({"model": served.name, "version": served.version}, "images", images, limit)
    except InvalidRequest as error:
        raise _not_for_json(served, look, per_layer) from error


def _not_for_json(served: ServedModel, look: Look, per_layer: Mapping[str, NDArray[Any]]) -> InvalidRequest:
    """The refusal of NaN and infinity that says where the first of them is; searched for only once there is one."""
    for name, arrays in per_layer.items():
        for image, array in enumerate(arrays):
            columns = vars(statistics(array, _axis(served, look, name, array))).values()
            finite = np.isfinite(list(columns)).all(axis=0)
            if not finite.all():
                index = int(np.argmin(finite))
                number = look.selection.named[index] if look.selection.named else index
                what = "holds NaN or infinity" if array.size else "has no values at all"
                return InvalidRequest(
                    f"channel {number} of layer {name!r} {what} for image {image}, which JSON cannot say; ask for {NPZ}"
                )
    return InvalidRequest(f"the answer holds NaN or infinity, which JSON cannot say; ask for {NPZ}")


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
    return 0 if look.selection.pool or array.ndim <= 1 else served.layout(name).channels - 1


def _as_png(served: ServedModel, look: Look, values: LayerValues, limit: int) -> Response:
    [name] = values.maps
    image = _per_image(values, name)[0]
    note = f"{look.selection.pool} over space" if look.selection.pool else ""
    view = View(look.scale, look.sort, look.selection.named, note)
    channels_first = np.moveaxis(image, _axis(served, look, name, image), 0) if image.ndim else image
    return sized(contact_sheet(channels_first, name, view), PNG, limit)


def _as_npz(served: ServedModel, look: Look, values: LayerValues, limit: int) -> Response:  # noqa: ARG001
    return sized(npz(values.maps), NPZ, limit)


def _per_image(values: LayerValues, name: str) -> NDArray[Any]:
    """What `name` yielded, first axis the images. Raises NotAcceptable where it belongs to no single one."""
    if name in values.shared:
        raise belongs_to_none(name, values.maps[name].shape)
    return values.maps[name]


_ENCODERS: dict[str, Callable[[ServedModel, Look, LayerValues, int], Response]] = {
    JSON: _as_json,
    PNG: _as_png,
    NPZ: _as_npz,
}
