"""What every answer carries and every request counts: X-Request-ID, Server-Timing, duration, requests in flight.

Pure ASGI, because Starlette's BaseHTTPMiddleware hides a client's departure from the handlers.
"""

import asyncio
import logging
import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import problem
from service.api.stages import stages_in
from service.errors import DeadlineExceeded
from service.lifecycle import Lifecycle
from service.metrics import Metrics

SAFE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

log = logging.getLogger(__name__)


class Instrumentation:
    """Wraps the application; a request's body must have come in after `upload_timeout` seconds."""

    def __init__(self, app: ASGIApp, metrics: Metrics, lifecycle: Lifecycle, upload_timeout: float) -> None:
        self._app = app
        self._upload_timeout = upload_timeout
        self._metrics = metrics
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; anything else passes through."""
        if scope["type"] == "http":
            exchange = _Exchange(self._metrics, self._lifecycle, self._upload_timeout, scope, send)
            await exchange.run(self._app, receive)
        else:
            await self._app(scope, receive, send)


class _Exchange:
    """One request and its answer."""

    def __init__(self, metrics: Metrics, lifecycle: Lifecycle, upload_timeout: float, scope: Scope, send: Send) -> None:
        self._upload_timeout = upload_timeout
        self._metrics = metrics
        self._lifecycle = lifecycle
        self._scope = scope
        self._send = send
        self._stages = stages_in(scope)
        self._stages.admitted = not lifecycle.draining
        self._status: int | None = None
        headers = Headers(scope=scope)
        self._body_to_come = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        given = headers.get("x-request-id", "")
        self._id = given if SAFE_ID.fullmatch(given) else uuid4().hex

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        with self._metrics.in_flight.track_inprogress(), self._lifecycle.request():
            try:
                heard = self._heard(receive)
                while self._body_to_come and not self._stages.admitted:
                    await heard()  # it will be refused; were it closed unread, the client would lose the refusal
                await app(self._scope, heard, self._answer)
            except asyncio.CancelledError:  # the service cannot wait any longer
                if self._status is not None:
                    raise
                sorry = problem(self._scope["path"], 503, "the service stopped before this was answered", retry_after=1)
                await sorry(self._scope, receive, self._answer)
            except Exception:
                log.exception("request %s failed", self._id)
                if self._status is not None:
                    raise
                failure = problem(self._scope["path"], 500, f"the service failed; its log tells why under {self._id}")
                await failure(self._scope, receive, self._answer)

    def _heard(self, receive: Receive) -> Receive:
        deadline = asyncio.get_running_loop().time() + self._upload_timeout

        async def heard() -> Message:
            if not self._body_to_come:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise DeadlineExceeded(f"the body was not in after {self._upload_timeout:g} s") from error
            self._body_to_come = message.get("more_body", False)
            return message

        return heard

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._id
            headers["Server-Timing"] = self._stages.server_timing()
            if self._lifecycle.leaving and not self._body_to_come:
                # So that nobody sends the next request to a server that is going. While a body is still coming in,
                # closing would reset the connection and the client would never read this answer.
                headers["Connection"] = "close"
            self._count(message["status"])
        await self._send(message)

    def _count(self, status: int) -> None:
        self._metrics.request_duration.labels(self._endpoint(), str(status)).observe(self._stages.total)
        if self._stages.model:
            self._metrics.observe_stages(*self._stages.model, self._stages.seconds)
        if self._stages.statistics:
            self._stages.statistics.ended(self._stages.seconds, self._stages.total, succeeded=status < 400)

    def _endpoint(self) -> str:
        """The route's template, never a raw path: a metric's labels must be bounded."""
        path = getattr(self._scope.get("route"), "path", None)  # within its router, which for some doors has a prefix
        return self._stages.endpoint or (str(path) if path == self._scope["path"] else "unmatched")
