"""The layer table: what a model is made of."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from service.api.answers import accepts_json, json_answer
from service.api.schemas import LayerTable
from service.api.services import Served, ServicesOf
from service.inference.graph.kinds import KINDS, parse_kinds

router = APIRouter(tags=["look inside"], dependencies=[Depends(accepts_json)])

Kinds = Annotated[
    list[str],
    Query(
        alias="kind",
        description=f"only layers of these kinds, commas between or given again: {', '.join(KINDS)}; "
        "all: plumbing as well, which depends on no input's values (constants, shapes and what is computed from them)",
        examples=[["conv,dense"]],
    ),
]


@router.get("/layers", response_model=LayerTable)
async def layers(served: Served, services: ServicesOf, kinds: Kinds = []) -> Response:  # noqa: B006 - never changed
    """Every layer: operator, inputs, shape, kernel, parameters, multiply-adds, receptive field, dense equivalent.

    The totals are those of the whole model, whatever the kinds.
    """
    table = {
        "model": served.name,
        "version": served.version,
        "layers": [asdict(layer) for layer in served.graph.table(parse_kinds(kinds))],
        "totals": asdict(served.graph.totals),
    }
    return json_answer(table, services.settings.max_answer_bytes)
