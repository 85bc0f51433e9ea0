"""create_app(settings): the one place where the parts are put together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

import onnx
from fastapi import APIRouter, Depends, FastAPI, params
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from service.api import (
    activation,
    feature_maps,
    latency,
    layers,
    model_metadata,
    model_statistics,
    models,
    open_inference,
    predictions,
    problems,
    repository_index,
    status,
    weights,
)
from service.api.instrumentation import Instrumentation
from service.api.queries import strict_query
from service.api.schemas import PROBLEMS, PROTOCOL_ERRORS
from service.api.services import (
    ONE_MODEL,
    ONE_VERSION,
    PROTOCOL_MODEL,
    PROTOCOL_VERSION,
    Services,
    default_version,
    one_version,
)
from service.inference.inputs.decoding import Decoder
from service.inference.looking.feature_maps import FeatureMaps
from service.inference.serving.batcher import MicroBatcher, Observers
from service.inference.serving.loading import Loader
from service.inference.serving.model import Model, Row, open_session, row_key
from service.inference.serving.providers import Providers
from service.inference.serving.repository import ModelRepository
from service.inference.serving.statistics import StatisticsBook
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.settings import Settings

MODEL_DOORS: tuple[APIRouter, ...] = (
    models.router,
    predictions.router,
    layers.router,
    feature_maps.router,
    weights.router,
    activation.router,
    latency.router,
)
PROTOCOL_DOORS: tuple[APIRouter, ...] = (model_metadata.router, model_statistics.router, open_inference.router)

log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The whole service as an ASGI application; its lifespan loads the models and drains them.

    Raises ProviderUnavailable when the execution provider that is demanded cannot be used.
    """
    services = _services(settings)
    app: FastAPI = FastAPIOffline(
        title="convscope",
        version=version("convscope"),
        description="Serves convolutional networks from ONNX, and shows every layer at work.",
        lifespan=partial(_lifespan, services),
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.add_middleware(
        Instrumentation,
        metrics=services.metrics,
        lifecycle=services.lifecycle,
        upload_timeout=settings.upload_timeout_ms / 1000,
    )
    problems.install(app)
    _include_doors(app)
    return app


def _include_doors(app: FastAPI) -> None:
    app.add_api_route("/", _home, include_in_schema=False)
    for router in (status.router, model_metadata.server, model_statistics.all_models, repository_index.router):
        app.include_router(router, responses=PROTOCOL_ERRORS)  # before the models, so that `stats` is no model name
    strict = Depends(strict_query)
    app.include_router(models.listing, dependencies=[strict], responses=PROBLEMS)
    _include_model_doors(app, MODEL_DOORS, ONE_MODEL, ONE_VERSION, PROBLEMS, strict)
    _include_model_doors(app, PROTOCOL_DOORS, PROTOCOL_MODEL, PROTOCOL_VERSION, PROTOCOL_ERRORS)


def _include_model_doors(
    app: FastAPI,
    doors: Sequence[APIRouter],
    model: str,
    version: str,
    refusals: dict[int | str, dict[str, Any]],
    *dependencies: params.Depends,
) -> None:
    for prefix, addressed in ((model, default_version(model)), (version, one_version(version))):
        for router in doors:
            all_of_them = [Depends(addressed), *dependencies]
            app.include_router(router, prefix=prefix, dependencies=all_of_them, responses=refusals)


async def _home() -> RedirectResponse:
    return RedirectResponse("/docs")


def _services(settings: Settings) -> Services:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    metrics, statistics = Metrics(registry), StatisticsBook()
    decoder = Decoder(
        threads=settings.decode_threads,
        max_pixels=settings.max_pixels,
        max_pixels_in_flight=settings.max_pixels_in_flight,
    )
    repository = ModelRepository(settings.models, _loader(settings, metrics, statistics).load)
    return Services(settings, metrics, repository, decoder, Lifecycle(), statistics)


def _loader(settings: Settings, metrics: Metrics, statistics: StatisticsBook) -> Loader:
    opened = partial(open_session, providers=Providers.of(settings.providers))

    def batcher(name: str, number: str, model: Model) -> MicroBatcher[Row, Row]:
        return MicroBatcher(
            model.run,
            key=row_key,
            observer=Observers((metrics.batches(name, number), statistics.of(name, number))),
            max_batch_size=settings.max_batch_size if model.batches else 1,
            max_queue_size=settings.max_queue_size,
            max_queue_delay=settings.max_queue_delay_ms / 1000,
            runners=settings.runners,
        )

    def inside(proto: onnx.ModelProto) -> FeatureMaps:
        return FeatureMaps(
            proto,
            partial(opened, threads=1, shares_arena=True),
            capacity=settings.feature_map_bytes,
            queue_size=settings.feature_map_queue,
        )

    return Loader(partial(opened, threads=settings.intra_op_threads), batcher, inside)


@asynccontextmanager
async def _lifespan(services: Services, app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001 - Starlette passes it
    log.info("settings: %s", services.settings.model_dump_json())
    loading = asyncio.create_task(_load(services))  # beside serving, so that liveness answers meanwhile
    yield
    await loading
    for served in services.repository.served():
        await served.stop()
    services.decoder.close()
    await asyncio.to_thread(services.profiles.close)


async def _load(services: Services) -> None:
    entries = await asyncio.to_thread(services.repository.load_all)
    for entry in entries.values():
        for served in entry.served():
            served.start()
    services.repository.adopt(entries)
    _report(services)


def _report(services: Services) -> None:
    """Say in the log and in the metrics what came of every version."""
    for entry in services.repository.entries():
        for one in entry.versions.values():
            if one.served is None:
                services.metrics.load_failures.labels(entry.name).inc()
                continue
            provider = one.served.model.provider
            services.metrics.model_info.labels(
                entry.name, one.number, provider, services.settings.providers, one.served.sha256
            ).set(1)
            log.info("model %s version %s answers on %s", entry.name, one.number, provider)
