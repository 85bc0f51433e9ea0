"""Where the time of one request went: decode, queue, infer, encode."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from service.inference.serving.statistics import Statistics


class Stages:
    """Seconds per stage of one request, in the order in which they happened.

    `model` is the (name, version) that answers, `endpoint` the template of its path, once they are known; `admitted`
    says that it came before the service began to refuse new work.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.model: tuple[str, str] | None = None
        self.endpoint: str | None = None
        self.statistics: Statistics | None = None
        self.admitted = True
        self._arrived = perf_counter()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Count the time inside as `stage`, whether or not it ends well."""
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - started

    @property
    def total(self) -> float:
        """Seconds since the request arrived."""
        return perf_counter() - self._arrived

    def server_timing(self) -> str:
        """The value of a Server-Timing header (W3C Server Timing), durations in milliseconds."""
        named = {**self.seconds, "total": self.total}
        return ", ".join(f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in named.items())


def stages_in(scope: Scope) -> Stages:
    """The stages of the request that this ASGI scope belongs to."""
    stages = scope.setdefault("convscope.stages", Stages())
    assert isinstance(stages, Stages)
    return stages


def stages_of(request: Request) -> Stages:
    """The stages of this request."""
    return stages_in(request.scope)


async def _stages(request: Request) -> Stages:
    return stages_of(request)


StagesOf = Annotated[Stages, Depends(_stages)]
