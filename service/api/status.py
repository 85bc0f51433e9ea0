"""Liveness, readiness and /metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from service.api.problems import problem
from service.api.schemas import Health, ProtocolError
from service.api.services import ServicesOf

router = APIRouter(tags=["status"])


# A probe that is answered with no is an answer, not a refusal; so these raise nothing that would be counted as one.


@router.get("/v2/health/live", response_model=Health, responses={503: {"model": ProtocolError}})
async def live(request: Request, services: ServicesOf) -> Health | Response:
    """The process can still answer, however busy: no runner is dead and no run is stuck."""
    for served in services.repository.served():
        if fault := served.fault(services.settings.stuck_run_ms / 1000):
            return _no(request, f"model {served.name!r} version {served.version}: {fault}")
    return {"live": True}


@router.get("/v2/health/ready", response_model=Health, responses={503: {"model": ProtocolError}})
async def ready(request: Request, services: ServicesOf) -> Health | Response:
    """Every version that was found has been tried, at least one answers, and the service is not about to stop."""
    if services.lifecycle.leaving:
        return _no(request, "the service is about to stop")
    if not services.repository.ready:
        return _no(request, "no model is ready; the log and GET /v1/models say why")
    return {"ready": True}


def _no(request: Request, reason: str) -> Response:
    return problem(request.url.path, 503, reason, retry_after=1)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, services: ServicesOf) -> Response:
    """Prometheus metrics, as text or OpenMetrics."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(services.metrics.registry), headers={"Content-Type": content_type})
