"""A picture in, and where in it a class was seen: laid over the picture, or as an array."""

import asyncio
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from PIL import Image

from service.api.answers import JSON, NPZ, PNG, acceptable, json_answer, sized
from service.api.bodies import pictures_of, read_body
from service.api.examples import CLASS_ACTIVATION
from service.api.inputs import numbers_of, request_body
from service.api.presence import while_wanted
from service.api.schemas import BINARY, ClassActivationMap
from service.api.services import Inferring, Services, ServicesOf
from service.api.stages import Stages, StagesOf
from service.errors import InvalidRequest, NotAcceptable
from service.inference.explaining.activation import AT_A_TIME, ClassActivation, class_activation, index_of
from service.inference.looking.archive import npz
from service.inference.pictures.overlay import overlay
from service.inference.serving.model import Row, ServedModel

router = APIRouter(tags=["look inside"])

Label = Annotated[
    str | None,
    Query(
        description="the class to look for, by its name or its index; by default the most probable",
        examples=["Ankle boot"],
    ),
]


ONE_PICTURE = request_body("One picture: as it is, or as a multipart field `images`, or as base64 in JSON.", maxItems=1)

FACTS = "Class-Activation"

ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {JSON: {"example": CLASS_ACTIVATION}, PNG: BINARY, NPZ: BINARY},
        "headers": {
            FACTS: {
                "description": "how the map was found, for which class, and how probable that is; a structured field",
                "schema": {"type": "string"},
                "example": "method=cam, index=9, probability=0.939",
            }
        },
    }
}


@router.post("/class-activation", response_model=ClassActivationMap, responses=ANSWER, openapi_extra=ONE_PICTURE)
async def activation(
    request: Request, served: Inferring, services: ServicesOf, stages: StagesOf, label: Label = None
) -> Response:
    """Where in one picture a class was seen.

    `method` says how that was found. `cam`: exactly, for a model that is linear behind its last spatial layer or
    each channel's average or maximum there; the values and `bias` add up to `logit`, the score before softmax or
    sigmoid. `occlusion`, for any other: each value is what the probability loses when that part of the picture is
    hidden. Place i along an axis has its centre at `first + i * step` in the input that the card asks for.

    For a signal or a volume, a map of one axis or three, always by occlusion, and no picture.

    As `application/json`: the map, from the top row down. As `image/png`: the picture at its own size, coloured where
    the class was seen; `method`, `label`, `index`, `probability` and, by cam, `logit` and `bias` are in its metadata
    (tEXt; iTXt what Latin-1 does not hold). As `application/x-npz`: the map as the array `activation`, with `first` and
    `step`, and these beside it as arrays of one value. The header `Class-Activation` says the method, the index and the
    probability with any of the three.
    """
    media_type = _form(request, served)
    index = None if label is None else index_of(label, served.known_card())
    body = await read_body(request, services.settings.max_body_bytes)
    work = _activation(request, body, served, services, stages, index, media_type)
    return await while_wanted(request, work, services.settings.timeout_ms)


def _form(request: Request, served: ServedModel) -> str:
    """The media type of the answer. Raises NotAcceptable for a picture where there was none to lay the map over."""
    kind = served.card.input.kind if served.card else "image"
    if kind == "image":
        return acceptable(request, [JSON, PNG, NPZ])
    try:
        return acceptable(request, [JSON, NPZ])
    except NotAcceptable as error:
        raise NotAcceptable(f"{error}; a {kind} is no picture to lay the map over") from error


async def _activation(
    request: Request,
    body: bytes,
    served: ServedModel,
    services: Services,
    stages: Stages,
    index: int | None,
    media_type: str,
) -> Response:
    with stages.measure("decode"):
        picture, row = await _read(request, body, served, services)
    at_a_time = min(AT_A_TIME, services.settings.max_queue_size)
    found = await class_activation(served, row, index, at_a_time=at_a_time)
    stages.seconds.update(queue=found.queue_seconds, infer=found.infer_seconds)
    with stages.measure("encode"):
        answer = await _encoded(picture, served, services, found, media_type)
    scored = found.scored
    answer.headers[FACTS] = f"method={found.method}, index={scored.index}, probability={scored.probability:.3f}"
    return answer


async def _encoded(
    picture: bytes, served: ServedModel, services: Services, found: ClassActivation, media_type: str
) -> Response:
    limit = services.settings.max_answer_bytes
    if media_type == JSON:
        return json_answer(_payload(served, found), limit)
    if media_type == NPZ:
        facts = {name: np.array(fact) for name, fact in found.facts.items()}
        first, step = map(np.array, found.lie(served.known_card().input.size))
        return sized(npz({"activation": found.values, "first": first, "step": step, **facts}), NPZ, limit)
    card, text = served.image_card().input, {name: str(fact) for name, fact in found.facts.items()}
    down, across = found.spacing

    def draw(image: Image.Image) -> bytes:
        return overlay(image, found.values, card, (down, across), text)

    return sized(await services.decoder.draw_on(picture, draw), PNG, limit)


async def _read(request: Request, body: bytes, served: ServedModel, services: Services) -> tuple[bytes, Row]:
    """The one picture in the body, as it came and as the model takes it. Raises InvalidRequest for more of them.

    For a model of signals or volumes: the whole body as it came.
    """
    card, most = served.known_card().input, services.settings.max_pictures
    content_type = request.headers.get("content-type")
    if card.kind != "image":
        arrays = await numbers_of(content_type, body, card, services)
        if len(arrays) != 1:
            raise InvalidRequest(f"a class is looked for in one {card.kind} at a time, not in {len(arrays)}")
        return body, {card.name: arrays[0]}
    pictures = await asyncio.to_thread(pictures_of, content_type, body, max_pictures=most)
    if len(pictures) != 1:
        raise InvalidRequest(f"a class is looked for in one picture at a time, not in {len(pictures)}")
    [array] = await services.decoder.decode(pictures, card)
    return pictures[0], {card.name: array}


def _payload(served: ServedModel, found: ClassActivation) -> ClassActivationMap:
    first, step = found.lie(served.known_card().input.size)
    return {
        "model": served.name,
        "version": served.version,
        "label": found.scored.label,
        "index": found.scored.index,
        "probability": found.scored.probability,
        "method": found.method,
        "logit": found.logit,
        "bias": found.bias,
        "shape": list(found.values.shape),
        "first": first,
        "step": step,
        "values": found.values.tolist(),
    }
