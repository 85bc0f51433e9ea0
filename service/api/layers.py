"""The layer table: what a model is made of."""

from dataclasses import asdict

from fastapi import APIRouter, Depends, Response

from service.api.answers import accepts_json, json_answer
from service.api.schemas import LayerTable
from service.api.services import Served, ServicesOf

router = APIRouter(tags=["look inside"], dependencies=[Depends(accepts_json)])


@router.get("/layers", response_model=LayerTable)
async def layers(served: Served, services: ServicesOf) -> Response:
    """Every layer: operator, inputs, shape, kernel, stride, padding, parameters, multiply-adds."""
    table = {
        "model": served.name,
        "version": served.version,
        "layers": [asdict(layer) for layer in served.graph.layers],
        "totals": asdict(served.graph.totals),
    }
    return json_answer(table, services.settings.max_answer_bytes)
