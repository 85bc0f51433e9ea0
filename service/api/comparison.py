"""The same pictures through two models: how far their layers are apart."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import Request, Response
from numpy.typing import NDArray

from service.api.answers import json_answer
from service.api.inputs import rows_of
from service.api.looking import Look
from service.api.services import Services
from service.api.stages import Stages
from service.errors import NotAcceptable
from service.inference.looking.comparison import LayerComparison
from service.inference.looking.layer_values import LayerValues
from service.inference.serving.model import Row, ServedModel


def other_model(services: Services, against: str) -> ServedModel:
    """NAME or NAME/VERSION. Raises UnknownName, or NotReady."""
    name, _, number = against.partition("/")
    return services.repository.find(name, number or None)


def shared(look: Look, served: ServedModel, other: ServedModel) -> Look:
    """The same look, by default at all layers that both models have. Raises what `Look.check` raises.

    Those of which no rank is known are left out by default, as they may be no tensors at all; so are, once they are
    computed, those that are not made of numbers.
    """
    if not look.layers:
        both = [row.name for row in served.graph.layers if row.shape and other.graph.rows.get(row.name)]
        look = replace(look, layers=tuple(both), by_default=True)
        if not both:
            raise _nothing_shared(served, other)
    look.check(served)
    look.check(other)
    return look


def _nothing_shared(served: ServedModel, other: ServedModel) -> NotAcceptable:
    return NotAcceptable(f"models {served.name!r} and {other.name!r} share no layer")


async def compare(
    request: Request,
    body: bytes,
    served: ServedModel,
    other: ServedModel,
    services: Services,
    stages: Stages,
    look: Look,
) -> Response:
    """The answer to a look at one model against another; each reads the pictures by its own card."""
    limit = services.settings.max_answer_bytes
    rows = await rows_of(request, body, served, services, stages)
    theirs = await rows_of(request, body, other, services, stages)
    for model in (served, other):
        look.at_once(model, 1, limit)
    found: dict[str, LayerComparison] = {}
    for row, their_row in zip(rows, theirs, strict=True):  # one by one, so that only one picture's values are held
        values = await _values(served, row, look, stages)
        against = await _values(other, their_row, look, stages)
        with stages.measure("encode"):
            await asyncio.to_thread(_add, found, values, against)
    if stages.statistics:
        stages.statistics.looked_inside(len(rows), stages.seconds["infer"], together=False)
    if not found:
        raise _nothing_shared(served, other)
    return json_answer(_payload(served, other, len(rows), list(found.values())), limit)


async def _values(model: ServedModel, row: Row, look: Look, stages: Stages) -> LayerValues:
    values = await model.look_inside(
        [row], look.layers, lambda values: values, look.selection, leave_out=look.by_default
    )
    for stage, seconds in (("queue", values.queue_seconds), ("infer", values.infer_seconds)):
        stages.seconds[stage] = stages.seconds.get(stage, 0.0) + seconds
    return values


def _add(found: dict[str, LayerComparison], values: LayerValues, against: LayerValues) -> None:
    for name in values.maps:
        if name in against.maps:
            found.setdefault(name, LayerComparison(name)).add(_of_one(values, name), _of_one(against, name))


def _of_one(values: LayerValues, name: str) -> NDArray[Any]:
    """What `name` yielded for the one picture that was run."""
    return values.maps[name] if name in values.shared else values.maps[name][0]


def _payload(served: ServedModel, other: ServedModel, count: int, found: Sequence[LayerComparison]) -> dict[str, Any]:
    return {
        "model": served.name,
        "version": served.version,
        "against": {"model": other.name, "version": other.version},
        "images": count,
        "layers": [_row(served, comparison) for comparison in found],
    }


def _row(served: ServedModel, comparison: LayerComparison) -> dict[str, Any]:
    return {
        "name": comparison.name,
        "op": served.graph.layer(comparison.name).op,
        "shape": list(comparison.shape),
        "against_shape": list(comparison.against_shape),
        "cosine": comparison.cosine,
        "largest_difference": comparison.largest_difference,
        "magnitude": comparison.magnitude,
        "not_finite": comparison.not_finite,
        "against_not_finite": comparison.against_not_finite,
    }
