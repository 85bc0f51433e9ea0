"""The Open Inference Protocol: tensors in, tensors out."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import nullcontext

from fastapi import APIRouter, Request, Response

from service.api.answers import JSON, acceptable, check_layers_fit
from service.api.bodies import read_body
from service.api.inference_answers import EncodedOutput, encode
from service.api.inference_requests import InferenceRequest, RequestedOutput, parse
from service.api.presence import while_wanted
from service.api.protocol import INFERENCE_REQUEST, InferenceResponse
from service.api.services import Inferring, Services, ServicesOf
from service.api.stages import Stages, StagesOf
from service.api.tensors import Array
from service.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotAcceptable,
    RunFailed,
    TooLarge,
    UnknownName,
    UnsupportedType,
)
from service.inference.contract.classification import classifications
from service.inference.looking.layer_values import LayerValues
from service.inference.serving.model import ServedModel, fed_wrongly

OCTETS = "application/octet-stream"
HEADER_LENGTH = "Inference-Header-Content-Length"
LARGE_JSON = 2**20

router = APIRouter(tags=["open inference"])


@router.post(
    "/infer",
    response_model=InferenceResponse,
    responses={200: {"content": {OCTETS: {}}}},
    openapi_extra={
        "parameters": [
            {
                "name": HEADER_LENGTH,
                "in": "header",
                "description": "how many bytes of the body are JSON; binary data follow",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {"required": True, "content": {JSON: {"schema": INFERENCE_REQUEST}, OCTETS: {}}},
    },
)
async def infer(request: Request, served: Inferring, services: ServicesOf, stages: StagesOf) -> Response:
    """Tensors in, tensors out, as JSON or binary data; `outputs` may name any layer of the graph."""
    _check_content_type(request.headers.get("content-type"))
    body = await read_body(request, services.settings.max_body_bytes)
    work = _infer(request, body, served, services, stages)
    return await while_wanted(request, work, services.settings.timeout_ms)


def _check_content_type(header: str | None) -> None:
    """None at all is right as well: tritonclient sends none."""
    if header is not None and header.split(";")[0].strip().lower() not in (JSON, OCTETS):
        raise UnsupportedType(f"content type {header[:100]!r} is not accepted; accepted are {JSON} and {OCTETS}")


async def _infer(request: Request, body: bytes, served: ServedModel, services: Services, stages: Stages) -> Response:
    arrived, limit = asyncio.get_running_loop().time(), services.settings.max_answer_bytes
    with stages.measure("decode"):
        lengths = request.headers.getlist(HEADER_LENGTH)
        async with services.large_json if len(body) > LARGE_JSON and not lengths else nullcontext():
            asked = await asyncio.to_thread(_decode, body, lengths, served)
    outputs = asked.outputs or [RequestedOutput(name, asked.binary) for name in served.model.outputs]
    if not outputs:
        raise NotAcceptable("none of the model's outputs can be put into an answer: their types are not numpy's")
    acceptable(request, [OCTETS if any(output.binary for output in outputs) else JSON])
    names = [output.name for output in outputs]
    deadline = None if asked.timeout is None else arrived + asked.timeout
    check_layers_fit(served.graph, names, served.model.signature.rows(asked.inputs), limit)
    values = await _before(deadline, _values(served, asked.inputs, names, services, stages))
    stages.seconds.update(queue=values.queue_seconds, infer=values.infer_seconds)
    with stages.measure("encode"):
        return await asyncio.to_thread(_encode, served, asked.id, outputs, values.maps, limit)


def _decode(body: bytes, header_lengths: Sequence[str], served: ServedModel) -> InferenceRequest:
    """What is asked for, which the model can be asked for."""
    if len(header_lengths) > 1:
        raise InvalidRequest(f"{HEADER_LENGTH} comes {len(header_lengths)} times")
    asked = parse(body, header_lengths[0] if header_lengths else None, served.model.signature)
    served.model.signature.check(asked.inputs)
    known = dict.fromkeys([*served.model.outputs, *served.graph.layer_names])
    for output in asked.outputs:
        if output.name not in known:
            raise InvalidRequest(str(UnknownName("output", output.name[:200], known)))
    return asked


async def _values(
    served: ServedModel, feed: Mapping[str, Array], names: Sequence[str], services: Services, stages: Stages
) -> LayerValues:
    """The model's outputs come from the batcher; as soon as a layer is among them, all come from looking inside."""
    rows = served.model.signature.rows(feed)
    if rows > (most := services.settings.max_queue_size):  # before the batcher, which would get each row apart
        raise TooLarge(f"{rows} rows can never fit a queue of {most}")
    try:
        if set(names) <= set(served.model.outputs):
            return await served.infer(feed)
        values = await served.feature_maps.compute(feed, names)
    except RunFailed as error:
        if fed_wrongly(error):
            raise InvalidRequest(f"the model cannot run on these tensors: {error}") from error
        raise
    if stages.statistics:
        stages.statistics.looked_inside(rows, values.infer_seconds, together=True)
    return values


async def _before(deadline: float | None, work: Awaitable[LayerValues]) -> LayerValues:
    """`work`, unless the loop's clock passes the `deadline` that the request itself set. Raises DeadlineExceeded."""
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError as error:
        raise DeadlineExceeded("no answer within the timeout that the request allows") from error


def _encode(
    served: ServedModel,
    request_id: str | None,
    outputs: Sequence[RequestedOutput],
    values: Mapping[str, Array],
    limit: int,
) -> Response:
    head = {"model_name": served.name, "model_version": served.version}
    if request_id is not None:
        head["id"] = request_id
    encoded = (
        EncodedOutput.of(output.name, _asked_for(served, output, values), binary=output.binary, max_bytes=limit)
        for output in outputs
    )
    answer = encode(head, encoded, limit)
    if answer.header_length is None:
        return Response(answer.body, media_type=JSON)
    return Response(answer.body, media_type=OCTETS, headers={HEADER_LENGTH: str(answer.header_length)})


def _asked_for(served: ServedModel, output: RequestedOutput, values: Mapping[str, Array]) -> Array:
    """The tensor, or its best classes; the labels are those of the card's output."""
    value = values[output.name]
    if output.classes is None:
        return value
    card = served.card
    labels = card.labels if card and card.output.name == output.name else None
    return classifications(value, output.classes, labels, batched=served.model.batches)
