"""Pictures in, feature maps out: as statistics, as a picture, or as exact arrays."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray

from service.api.answers import JSON, NPZ, PNG, acceptable, check_layers_fit, json_list_answer, sized
from service.api.bodies import read_body
from service.api.examples import FEATURE_MAPS, LAYER
from service.api.inputs import REQUEST_BODY, rows_of
from service.api.presence import while_wanted
from service.api.schemas import FeatureMapSummaries
from service.api.services import Inferring, Services, ServicesOf
from service.api.stages import Stages, StagesOf
from service.errors import InvalidRequest, NotAcceptable, TooLarge
from service.inference.feature_maps import LayerValues, statistics
from service.inference.model import ServedModel
from service.inference.rendering import contact_sheet, npz

router = APIRouter(tags=["look inside"])

LayerNames = Annotated[
    list[str],
    Query(
        alias="layer",
        min_length=1,
        description="layers by name, as `GET .../layers` lists them",
        examples=[[LAYER]],
    ),
]


@router.post(
    "/feature-maps",
    response_model=FeatureMapSummaries,
    responses={200: {"content": {JSON: {"example": FEATURE_MAPS}, PNG: {}, NPZ: {}}}},
    openapi_extra=REQUEST_BODY,
)
async def feature_maps(
    request: Request, served: Inferring, services: ServicesOf, stages: StagesOf, layers: LayerNames
) -> Response:
    """What the layers yield for each picture.

    As `application/json`: shape, and statistics per channel. As `image/png`: a contact sheet of one layer for one
    picture. As `application/x-npz`: the exact values, an array per layer under its name, first axis the pictures.
    """
    media_type = acceptable(request, [JSON, PNG, NPZ])
    layers = list(dict.fromkeys(layers))
    for layer in layers:
        served.graph.layer(layer)  # an unknown one is refused before the body is read
    body = await read_body(request, services.settings.max_body_bytes)
    work = _look_inside(request, body, served, services, stages, layers, media_type)
    return await while_wanted(request, work, services.settings.timeout_ms)


async def _look_inside(
    request: Request,
    body: bytes,
    served: ServedModel,
    services: Services,
    stages: Stages,
    layers: Sequence[str],
    media_type: str,
) -> Response:
    rows = await rows_of(request, body, served, services, stages)
    limit = services.settings.max_answer_bytes
    if media_type == PNG and (len(rows), len(layers)) != (1, 1):
        raise InvalidRequest(f"a picture shows one layer of one image, not {len(layers)} of {len(rows)}")
    check_layers_fit(served.graph, layers, len(rows), limit)

    def finish(values: LayerValues) -> Response:
        stages.seconds.update(queue=values.queue_seconds, infer=values.infer_seconds)
        if (size := sum(array.nbytes for array in values.maps.values())) > limit:
            raise TooLarge(f"the layers take {size} bytes, the limit is {limit}: ask for fewer layers or images")
        with stages.measure("encode"):
            return _ENCODERS[media_type](served, values, len(rows), limit)

    answer = await served.look_inside(rows, layers, finish)
    if stages.statistics:
        stages.statistics.looked_inside(len(rows), stages.seconds["infer"], together=served.model.batches)
    return answer


def _as_json(served: ServedModel, values: LayerValues, count: int, limit: int) -> Response:
    per_layer = {name: _per_image(served, name, array, count) for name, array in values.maps.items()}
    images = (
        {"layers": [_summary(served, name, arrays[image]) for name, arrays in per_layer.items()]}
        for image in range(count)
    )
    return json_list_answer({"model": served.name, "version": served.version}, "images", images, limit)


def _summary(served: ServedModel, name: str, array: NDArray[Any]) -> dict[str, Any]:
    channels = [vars(channel) for channel in statistics(array)]
    return {"name": name, "op": served.graph.layer(name).op, "shape": array.shape, "channels": channels}


def _as_png(served: ServedModel, values: LayerValues, count: int, limit: int) -> Response:
    [(name, array)] = values.maps.items()
    return sized(contact_sheet(_per_image(served, name, array, count)[0], name), PNG, limit)


def _as_npz(served: ServedModel, values: LayerValues, count: int, limit: int) -> Response:  # noqa: ARG001
    return sized(npz(values.maps), NPZ, limit)


def _per_image(served: ServedModel, name: str, array: NDArray[Any], count: int) -> NDArray[Any]:
    """`array`, whose first axis must be the images: where several run at once, its shape says so, not its length."""
    shape = served.graph.layer(name).shape
    other = served.model.batches and shape and shape[0] not in ("N", None)
    if other or not array.shape or len(array) != count:
        raise NotAcceptable(f"layer {name!r} of shape {array.shape} does not belong to single images; ask for {NPZ}")
    return array


_ENCODERS = {JSON: _as_json, PNG: _as_png, NPZ: _as_npz}
