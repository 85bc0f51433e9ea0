"""Triton's statistics extension: counts and times since the start."""

from fastapi import APIRouter, Depends, Request

from service.api.answers import accepts_json
from service.api.protocol import DurationStatistic, ModelStatistics, StatisticsList
from service.api.services import Services, ServicesOf
from service.inference.serving.repository import Entry
from service.inference.serving.statistics import Duration, Statistics

all_models = APIRouter(tags=["open inference"], dependencies=[Depends(accepts_json)])
router = APIRouter(tags=["open inference"], dependencies=[Depends(accepts_json)])


@all_models.get("/v2/models/stats")
async def statistics(services: ServicesOf) -> StatisticsList:
    """Every version of every model that answers."""
    entries = services.repository.entries()
    return {"model_stats": [one for entry in entries for one in _of(services, entry)]}


@router.get("/stats")
async def model_statistics(request: Request, services: ServicesOf) -> StatisticsList:
    """The version that the path names, else every version that answers."""
    name, number = request.path_params["model"], request.path_params.get("version")
    if number is not None:
        services.repository.find(name, number)
    every = _of(services, services.repository.entry(name))
    return {"model_stats": [one for one in every if number in (None, one["version"])]}


def _of(services: Services, entry: Entry) -> list[ModelStatistics]:
    return [
        _described(served.name, served.version, services.statistics.of(served.name, served.version))
        for served in entry.served()
    ]


def _described(name: str, version: str, statistics: Statistics) -> ModelStatistics:
    """As the extension words it. Nothing is cached; preparing a batch is part of its run's time."""
    runs = sorted(statistics.runs.items())
    nothing: DurationStatistic = {"count": 0, "ns": 0}
    return {
        "name": name,
        "version": version,
        "last_inference": statistics.last_inference,
        "inference_count": sum(size * duration.count for size, duration in runs),
        "execution_count": sum(duration.count for _, duration in runs),
        "inference_stats": {
            "success": _duration(statistics.success),
            "fail": _duration(statistics.fail),
            "queue": _duration(statistics.stages["queue"]),
            "compute_input": _duration(statistics.stages["decode"]),
            "compute_infer": _duration(statistics.stages["infer"]),
            "compute_output": _duration(statistics.stages["encode"]),
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": nothing,
                "compute_infer": _duration(duration),
                "compute_output": nothing,
            }
            for size, duration in runs
        ],
    }


def _duration(duration: Duration) -> DurationStatistic:
    return {"count": duration.count, "ns": duration.ns}
