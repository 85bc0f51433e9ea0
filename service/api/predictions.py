"""Pictures or numbers in, classes out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from service.api.answers import JSON, accepts_json, json_answer
from service.api.bodies import read_body
from service.api.examples import PREDICTIONS
from service.api.inputs import REQUEST_BODY, rows_of
from service.api.presence import while_wanted
from service.api.schemas import Predictions
from service.api.services import Inferring, Services, ServicesOf
from service.api.stages import Stages, StagesOf
from service.inference.contract.classes import ClassScore, classify
from service.inference.serving.model import ServedModel

router = APIRouter(tags=["predict"], dependencies=[Depends(accepts_json)])

TopK = Annotated[
    int,
    Query(ge=1, description="classes per input; above the number of labels gives all of them", examples=[3]),
]


@router.post(
    "/predict",
    response_model=Predictions,
    responses={200: {"content": {JSON: {"example": PREDICTIONS}}}},
    openapi_extra=REQUEST_BODY,
)
async def predict(
    request: Request, served: Inferring, services: ServicesOf, stages: StagesOf, top_k: TopK = 5
) -> Response:
    """The most probable classes of each picture, signal or volume."""
    body = await read_body(request, services.settings.max_body_bytes)
    work = _predict(request, body, served, services, stages, top_k)
    return await while_wanted(request, work, services.settings.timeout_ms)


async def _predict(
    request: Request, body: bytes, served: ServedModel, services: Services, stages: Stages, top_k: int
) -> Response:
    rows = await rows_of(request, body, served, services, stages)
    batched = await served.predict(rows)
    stages.seconds.update(queue=batched.queue_seconds, infer=batched.infer_seconds)
    with stages.measure("encode"):
        card = served.known_card()
        predictions = [classify(row[card.output.name], card, top_k) for row in batched.results]
        answer = json_answer(_payload(served, predictions), services.settings.max_answer_bytes)
    best = [(scores[0].label, scores[0].probability) for scores in predictions]
    services.metrics.observe_predictions(served.name, served.version, best, len(card.labels))
    return answer


def _payload(served: ServedModel, predictions: list[list[ClassScore]]) -> Predictions:
    return {
        "model": served.name,
        "version": served.version,
        "predictions": [
            {
                "classes": [
                    {"label": score.label, "index": score.index, "probability": score.probability} for score in scores
                ]
            }
            for scores in predictions
        ],
    }
