"""What the doors work with: made once by `app`, handed to every handler."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Path, Request

from service.api.stages import stages_of
from service.errors import Stopping
from service.inference.explaining.profile_book import ProfileBook
from service.inference.inputs.decoding import Decoder
from service.inference.serving.model import ServedModel
from service.inference.serving.repository import ModelRepository
from service.inference.serving.statistics import StatisticsBook
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.settings import Settings


@dataclass(frozen=True)
class Services:
    """The parts that answer a request."""

    settings: Settings
    metrics: Metrics
    repository: ModelRepository
    decoder: Decoder
    lifecycle: Lifecycle
    statistics: StatisticsBook
    profiles: ProfileBook = field(default_factory=ProfileBook)
    large_json: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Held while a large JSON body is read: Python's parser keeps everybody else waiting, so one at a time."""


def services_of(request: Request) -> Services:
    """The services of the application that got this request."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


# Dependencies are coroutines, though they wait for nothing: FastAPI would run each plain function on a thread.


async def _services(request: Request) -> Services:
    return services_of(request)


async def served_model(request: Request) -> ServedModel:
    """The model that the path names, by default its newest version. Raises UnknownName, NotReady or Stopping."""
    if not stages_of(request).admitted:
        raise Stopping("the service is stopping and takes no new work")
    served = services_of(request).repository.find(request.path_params["model"], request.path_params.get("version"))
    stages_of(request).model = (served.name, served.version)
    return served


async def inferring_model(request: Request) -> ServedModel:
    """As `served_model`, for a door whose requests count in the model's statistics."""
    served = await served_model(request)
    stages_of(request).statistics = services_of(request).statistics.of(served.name, served.version)
    return served


ONE_MODEL = "/v1/models/{model}"
ONE_VERSION = ONE_MODEL + "/versions/{version}"
PROTOCOL_MODEL = "/v2/models/{model}"
PROTOCOL_VERSION = PROTOCOL_MODEL + "/versions/{version}"

ModelName = Annotated[str, Path(description="a model, as `GET /v1/models` lists it", examples=["fashion-mnist"])]
VersionNumber = Annotated[str, Path(description="one of its versions", examples=["1"])]


def default_version(prefix: str) -> Callable[..., Awaitable[None]]:
    """A dependency for the doors under `prefix`, `ONE_MODEL` say: the version that answers by default is meant."""

    async def addressed(request: Request, model: ModelName) -> None:  # noqa: ARG001 - the parameter is for /docs
        stages_of(request).endpoint = prefix + request.scope["route"].path

    return addressed


def one_version(prefix: str) -> Callable[..., Awaitable[None]]:
    """A dependency for the doors under `prefix`, `ONE_VERSION` say."""

    async def addressed(request: Request, model: ModelName, version: VersionNumber) -> None:  # noqa: ARG001 - likewise
        stages_of(request).endpoint = prefix + request.scope["route"].path

    return addressed


ServicesOf = Annotated[Services, Depends(_services)]
Served = Annotated[ServedModel, Depends(served_model)]
Inferring = Annotated[ServedModel, Depends(inferring_model)]
