"""The cards: which models there are and what each says about itself."""

from fastapi import APIRouter, Depends, Request

from service.api.answers import accepts_json
from service.api.schemas import ModelDescription, ModelList
from service.api.services import ServicesOf
from service.inference.serving.repository import Entry, Version

listing = APIRouter(tags=["models"], dependencies=[Depends(accepts_json)])
router = APIRouter(tags=["models"], dependencies=[Depends(accepts_json)])


@listing.get("/v1/models")
async def models(services: ServicesOf) -> ModelList:
    """Every model, as its default version describes it."""
    entries = services.repository.entries()
    preferred = [entry for entry in entries if entry.name == services.settings.default_model]
    return {
        "default": next((entry.name for entry in preferred + entries), None),
        "models": [_describe(entry, entry.default) for entry in entries],
    }


@router.get("")
async def model(request: Request, services: ServicesOf) -> ModelDescription:
    """One model, and the version that the path names, else its default."""
    name, number = request.path_params["model"], request.path_params.get("version")
    return _describe(services.repository.entry(name), services.repository.version(name, number))


def _describe(entry: Entry, version: Version) -> ModelDescription:
    served = version.served
    return {
        "name": entry.name,
        "versions": list(entry.versions),
        "states": [
            {"version": each.number, "state": each.state, "reason": each.reason} for each in entry.versions.values()
        ],
        "default_version": entry.default.number,
        "version": version.number,
        "state": version.state,
        "reason": version.reason,
        "sha256": served.sha256 if served else None,
        "provider": served.model.provider if served else None,
        "card": served.card.model_dump(mode="json") if served and served.card else None,
    }
