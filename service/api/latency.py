"""Where the time goes: by stage since the start, and by layer once it was measured."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from service.api.answers import JSON, accepts_json, json_answer
from service.api.examples import LATENCY
from service.api.presence import while_wanted
from service.api.schemas import BatchLatency, Latency, LatencyProfile, StageLatency
from service.api.services import Served, Services, ServicesOf
from service.inference.explaining.profile import BatchProfile, Profile
from service.inference.serving.model import ServedModel
from service.metrics import histogram_quantile

router = APIRouter(tags=["look inside"], dependencies=[Depends(accepts_json)])

ANSWER: dict[int | str, dict[str, Any]] = {200: {"content": {JSON: {"example": LATENCY}}}}


@router.get("/latency", response_model=Latency, responses=ANSWER)
async def last_latency(served: Served, services: ServicesOf) -> Response:
    """Percentiles of each stage since the start, and the last measurement of each layer, null before there is one.

    The percentiles are those that Prometheus' `histogram_quantile` makes of `/metrics`: straight lines within buckets.
    """
    return _answer(served, services)


@router.post("/latency", response_model=Latency, responses=ANSWER)
async def measure_latency(request: Request, served: Served, services: ServicesOf) -> Response:
    """Measure each layer with onnxruntime's profiler, for one input and for the largest batch, which takes seconds.

    A model whose file fixes the batch is measured at that. Predictions meanwhile share the processor with it, and both
    are slower for it. A layer that has no row of its own is among the `fused` of the one whose kernel computes it, or
    was computed once and for all, or is not needed for any output; without a name is what onnxruntime added. The shares
    are sound always, the sums from about 2 ms a run: what the profiler costs is in them.
    """
    work = services.profiles.measure(served, services.settings.max_batch_size)
    measured = await while_wanted(request, work, services.settings.timeout_ms)
    layers = {row.layer: row.seconds for row in measured.batches[0].layers if row.layer is not None}
    services.metrics.observe_layers(served.name, served.version, layers)
    return _answer(served, services)


def _answer(served: ServedModel, services: Services) -> Response:
    stages = services.metrics.stage_buckets(served.name, served.version)
    last = services.profiles.last(served)
    payload: Latency = {
        "model": served.name,
        "version": served.version,
        "stages": {stage: _stage(buckets) for stage, buckets in stages.items()},
        "profile": _profile(last) if last else None,
    }
    return json_answer(payload, services.settings.max_answer_bytes)


def _stage(buckets: Sequence[tuple[float, float]]) -> StageLatency:
    p50, p90, p99 = (histogram_quantile(quantile, buckets) for quantile in (0.5, 0.9, 0.99))
    return {"count": buckets[-1][1] if buckets else 0.0, "p50": p50, "p90": p90, "p99": p99}


def _profile(last: Profile) -> LatencyProfile:
    batches = [_batch(batch) for batch in last.batches]
    return {"provider": last.provider, "threads": last.threads, "batches": batches}


def _batch(found: BatchProfile) -> BatchLatency:
    return {
        "batch": found.batch,
        "runs": found.runs,
        "run_us": _us(found.run_seconds),
        "layers_us": _us(found.layer_seconds),
        "layers": [
            {
                "name": row.layer,
                "fused": list(row.fused),
                "op": row.op,
                "us": _us(row.seconds),
                "share": round(row.share, 5),
            }
            for row in found.layers
        ],
    }


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1)
