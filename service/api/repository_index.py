"""The index of Triton's model repository extension: every version that was found, and what came of it.

Loading and unloading, which belong to that extension, too, are not offered; so the server does not claim to speak it.
"""

from fastapi import APIRouter, Depends, Request

from service.api.answers import JSON, accepts_json
from service.api.bodies import read_body
from service.api.protocol import INDEX_REQUEST, IndexedModel
from service.api.services import ServicesOf
from service.api.strict_json import read_object
from service.errors import InvalidRequest, NotReady

router = APIRouter(tags=["open inference"], dependencies=[Depends(accepts_json)])


@router.post(
    "/v2/repository/index",
    openapi_extra={"requestBody": {"required": False, "content": {JSON: {"schema": INDEX_REQUEST}}}},
)
async def repository_index(request: Request, services: ServicesOf) -> list[IndexedModel]:
    """Every version in the models folder, or those that are ready, with the reason why another is not."""
    only_ready = _only_ready(await read_body(request, services.settings.max_body_bytes))
    if not services.repository.loaded:
        raise NotReady("the models are still being loaded")
    return [
        {
            "name": entry.name,
            "version": version.number,
            "state": "READY" if version.served else "UNAVAILABLE",
            "reason": version.reason or "",
        }
        for entry in services.repository.entries()
        for version in entry.versions.values()
        if version.served or not only_ready
    ]


def _only_ready(body: bytes) -> bool:
    """Triton's own clients send no body at all."""
    ready = read_object(body).get("ready", False) if body else False
    if not isinstance(ready, bool):
        raise InvalidRequest("ready is true or false")
    return ready
