"""What the doors work with: made once by `app`, handed to every handler."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request

from service.api.stages import stages_of
from service.errors import Stopping
from service.inference.decoding import Decoder
from service.inference.model import ServedModel
from service.inference.repository import ModelRepository
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


ONE_MODEL = "/v1/models/{model}"
ONE_VERSION = ONE_MODEL + "/versions/{version}"

ModelName = Annotated[str, Path(description="a model, as `GET /v1/models` lists it", examples=["fashion-mnist"])]
VersionNumber = Annotated[str, Path(description="one of its versions", examples=["1"])]


async def default_version(request: Request, model: ModelName) -> None:  # noqa: ARG001 - the parameters are for /docs
    """Make a door one of `ONE_MODEL`: its newest version answers."""
    stages_of(request).endpoint = ONE_MODEL + request.scope["route"].path


async def one_version(request: Request, model: ModelName, version: VersionNumber) -> None:  # noqa: ARG001 - likewise
    """Make a door one of `ONE_VERSION`."""
    stages_of(request).endpoint = ONE_VERSION + request.scope["route"].path


ServicesOf = Annotated[Services, Depends(_services)]
Served = Annotated[ServedModel, Depends(served_model)]
