"""The first half of every walk that starts with pictures: body -> encoded pictures -> rows for the model."""

import asyncio

from fastapi import Request

from service.api.bodies import pictures_of
from service.api.examples import ANKLE_BOOT
from service.api.services import Services
from service.api.stages import Stages
from service.inference.serving.model import Row, ServedModel

LARGE = 2**20  # bytes of a body

_PICTURE = {"schema": {"type": "string", "format": "binary"}}

REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "description": "One picture as it is, or many as multipart fields `images`, or many as base64 in JSON.",
        "content": {
            "image/png": _PICTURE,
            "image/jpeg": _PICTURE,
            "image/webp": _PICTURE,
            "image/gif": _PICTURE,
            "image/bmp": _PICTURE,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "byte"}}
                    },
                },
                "example": {"images": [ANKLE_BOOT]},
            },
        },
    }
}
"""OpenAPI's words for what `rows_of` takes: FastAPI cannot see it, as the handlers read the body themselves."""


async def rows_of(request: Request, body: bytes, served: ServedModel, services: Services, stages: Stages) -> list[Row]:
    """One row per picture in the body. Raises what `pictures_of` and `Decoder.decode` raise, and MissingCard."""
    card = served.image_card().input
    content_type, most = request.headers.get("content-type"), services.settings.max_pictures
    with stages.measure("decode"):
        if len(body) < LARGE:
            pictures = pictures_of(content_type, body, max_pictures=most)
        else:  # on a thread: taking 64 MiB of base64 apart would hold up everybody else for a tenth of a second
            pictures = await asyncio.to_thread(pictures_of, content_type, body, max_pictures=most)
        arrays = await services.decoder.decode(pictures, card)
    return [{card.name: array} for array in arrays]
