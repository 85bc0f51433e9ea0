"""Error -> status: one table, and one shape a family: RFC 9457 under /v1, `{"error": "..."}` under /v2."""

import json
import logging
import re
from collections.abc import Iterator
from http.client import responses
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service import errors
from service.api.services import services_of
from service.api.stages import stages_of

log = logging.getLogger(__name__)

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")

STATUS: dict[type[errors.ConvscopeError], int] = {
    errors.InvalidRequest: 400,
    errors.UnknownName: 404,
    errors.NotAcceptable: 406,
    errors.UnderWay: 409,
    errors.TooLarge: 413,
    errors.UnsupportedType: 415,
    errors.Unprocessable: 422,
    errors.ClientGone: 499,  # nginx's number; nobody is left to read it
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
    errors.RunFailed: 500,
}


def status_of(error: errors.ConvscopeError) -> int:
    """The status of an error: its own, else that of the class it descends from."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(path: str, status: int, detail: str, **extensions: Any) -> Response:
    """The answer to a request that was refused, in the shape of the family that `path` belongs to."""
    headers = {"Retry-After": str(extensions.pop("retry_after"))} if "retry_after" in extensions else None
    if path.startswith("/v2"):
        return _json({"error": detail}, status, "application/json", headers)
    body = {
        "type": "about:blank",
        "title": responses.get(status, "Client Closed Request"),
        "status": status,
        "detail": detail,
        "instance": path,
    }
    return _json(body | extensions, status, "application/problem+json", headers)


def install(app: FastAPI) -> None:
    """Give every refusal its answer, and its count a beginning at 0."""
    for kind in _kinds(errors.ConvscopeError):
        if kind not in (errors.ClientGone, errors.ModelRejected):  # they are counted elsewhere
            app.state.services.metrics.rejected.labels(_reason(kind))
    app.add_exception_handler(errors.ConvscopeError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid_parameter)
    app.add_exception_handler(HTTPException, _http_error)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ConvscopeError)
    _count(request, error)
    status = status_of(error)
    if status == 500:
        log.error("%s failed", request.url.path, exc_info=error)
    return problem(request.url.path, status, str(error), **_extensions(error))


def _count(request: Request, error: errors.ConvscopeError) -> None:
    metrics = services_of(request).metrics
    if isinstance(error, errors.ClientGone):
        model, _ = stages_of(request).model or ("", "")
        metrics.cancelled.labels(model).inc()
    else:
        metrics.rejected.labels(_reason(type(error))).inc()


async def _invalid_parameter(request: Request, error: Exception) -> Response:
    """FastAPI's 422 for a bad query is our 400."""
    assert isinstance(error, RequestValidationError)
    details = [f"{'.'.join(str(part) for part in item['loc'][1:])}: {item['msg']}" for item in error.errors()]
    return await _refused(request, errors.InvalidRequest("; ".join(details)))


async def _http_error(request: Request, error: Exception) -> Response:
    """No such path, or no such method on it."""
    assert isinstance(error, HTTPException)
    answer = problem(request.url.path, error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(_methods(request))
    return answer


def _methods(request: Request) -> list[str]:
    """Those of all doors at the path: starlette knows just the first one's."""
    app: FastAPI = request.app
    asked = [{**request.scope, "method": method} for method in METHODS]
    return [scope["method"] for scope in asked if any(route.matches(scope)[0] is Match.FULL for route in app.routes)]


def _extensions(error: errors.ConvscopeError) -> dict[str, Any]:
    """What a program wants to know without reading the sentence."""
    match error:
        case errors.UnreadablePicture():
            return {"index": error.index}
        case errors.UnknownName():
            return {"nearest": list(error.nearest)}
        case errors.Unavailable():
            return {"retry_after": error.retry_after}
    return {}


def _kinds(kind: type[errors.ConvscopeError]) -> Iterator[type[errors.ConvscopeError]]:
    """Every kind of error that a request can be refused with, by the tree below `kind`."""
    for below in kind.__subclasses__():
        yield below
        yield from _kinds(below)


def _reason(kind: type[errors.ConvscopeError]) -> str:
    """QueueFull -> queue_full."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def _json(body: dict[str, Any], status: int, media_type: str, headers: dict[str, str] | None) -> Response:
    return Response(json.dumps(body), status, headers, media_type)
