"""The first half of every walk: a body of pictures or numbers, as the model's card has it -> rows for the model."""

import asyncio
from typing import Any

from fastapi import Request

from service.api.bodies import pictures_of
from service.api.examples import ANKLE_BOOT
from service.api.instances import instances_of
from service.api.schemas import BINARY
from service.api.services import Services
from service.api.stages import Stages
from service.inference.contract.card import InputCard
from service.inference.inputs.decoding import Array
from service.inference.inputs.instances import read_instance
from service.inference.serving.model import Row, ServedModel

LARGE = 2**20  # bytes of a body
LARGE_JSON = 2**14  # bytes of numbers: a millisecond's work

_FORMS = ("png", "jpeg", "webp", "gif", "bmp")
_NUMBERS = (
    "For a model of signals, volumes or tensors, as its card says: `instances` in JSON, each nested arrays of numbers "
    "of the input's shape, where the axis of a single channel may be left out; whole numbers from 0 to 255 for uint8."
)


def request_body(description: str, **bounds: int) -> dict[str, Any]:
    """OpenAPI's words for a body of pictures or numbers; `bounds`, maxItems say, on how many there may be."""

    def listed(name: str, item: dict[str, Any]) -> dict[str, Any]:
        items = {"type": "array", "minItems": 1, **bounds, "items": item}
        return {"type": "object", "required": [name], "properties": {name: items}, "additionalProperties": False}

    numbers = {"type": "array", "minItems": 1, "items": {"type": ["number", "array"]}}
    either = [listed("images", {"type": "string", "format": "byte"}), listed("instances", numbers)]
    content = {
        **{f"image/{form}": BINARY for form in _FORMS},
        "multipart/form-data": {"schema": listed("images", {"type": "string", "format": "binary"})},
        "application/json": {"schema": {"oneOf": either}, "example": {"images": [ANKLE_BOOT]}},
    }
    return {"requestBody": {"required": True, "description": f"{description} {_NUMBERS}", "content": content}}


REQUEST_BODY = request_body("One picture as it is, or many as multipart fields `images`, or many as base64 in JSON.")
"""OpenAPI's words for what `rows_of` takes: FastAPI cannot see it, as the handlers read the body themselves."""


async def rows_of(request: Request, body: bytes, served: ServedModel, services: Services, stages: Stages) -> list[Row]:
    """One row per picture, or instance, in the body, whichever the model's card asks for.

    Raises what `pictures_of` and `Decoder.decode` raise, or `instances_of` and `read_instance`; and MissingCard.
    """
    card = served.known_card().input
    content_type = request.headers.get("content-type")
    with stages.measure("decode"):
        arrays = await (_decoded if card.kind == "image" else numbers_of)(content_type, body, card, services)
    return [{card.name: array} for array in arrays]


async def _decoded(content_type: str | None, body: bytes, card: InputCard, services: Services) -> list[Array]:
    most = services.settings.max_pictures
    if len(body) < LARGE:
        pictures = pictures_of(content_type, body, max_pictures=most)
    else:  # on a thread: taking 64 MiB of base64 apart would hold up everybody else for a tenth of a second
        pictures = await asyncio.to_thread(pictures_of, content_type, body, max_pictures=most)
    return await services.decoder.decode(pictures, card)


async def numbers_of(content_type: str | None, body: bytes, card: InputCard, services: Services) -> list[Array]:
    """An array per instance in the body. Raises what `instances_of` and `read_instance` raise."""

    def read() -> list[Array]:
        instances = instances_of(content_type, body, card.kind, max_instances=services.settings.max_pictures)
        return [read_instance(instance, card, index=index) for index, instance in enumerate(instances)]

    if len(body) < LARGE_JSON:
        return read()
    async with services.large_json:
        return await asyncio.to_thread(read)
