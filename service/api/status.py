"""Liveness, readiness and /metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from service.api.schemas import Health, ProtocolError
from service.api.services import ServicesOf
from service.errors import NotReady, Stopping, Unavailable

router = APIRouter(tags=["status"])


@router.get("/v2/health/live", responses={503: {"model": ProtocolError}})
async def live(services: ServicesOf) -> Health:
    """The process can still answer, however busy: no runner is dead and no run is stuck."""
    for served in services.repository.served():
        if fault := served.fault(services.settings.stuck_run_ms / 1000):
            raise Unavailable(f"model {served.name!r} version {served.version}: {fault}")
    return {"live": True}


@router.get("/v2/health/ready", responses={503: {"model": ProtocolError}})
async def ready(services: ServicesOf) -> Health:
    """Every version that was found has been tried, at least one answers, and the service is not about to stop."""
    if services.lifecycle.leaving:
        raise Stopping("the service is about to stop")
    if not services.repository.ready:
        raise NotReady("no model is ready; the log and GET /v1/models say why")
    return {"ready": True}


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, services: ServicesOf) -> Response:
    """Prometheus metrics, as text or OpenMetrics."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(services.metrics.registry), headers={"Content-Type": content_type})
