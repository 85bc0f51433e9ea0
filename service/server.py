"""Server: uvicorn, but for how it stops. A signal begins a drain; no accepted request goes without its answer.

uvicorn itself closes its listening socket at once, so that a balancer's probe finds nobody, and then dies of the signal
(status 143). Here the order is: readiness says no; the pre-drain passes, serving as ever; new work is refused with 503;
what was accepted is finished; the socket closes; exit status 0.
"""

import asyncio
import logging
import os
import threading
from types import FrameType

import uvicorn

from service.lifecycle import Lifecycle

UNCLEAN = 1
LAST_SECONDS = 2.0  # for the application to close after the drain has timed out

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Serves until a signal, then drains; a second signal ends it at once. Durations in seconds."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, pre_drain: float, drain_timeout: float) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._pre_drain = pre_drain
        self._drain_timeout = drain_timeout
        self._drain: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        """Begin the drain. Called for SIGINT and SIGTERM, on the thread of the event loop."""
        if self._lifecycle.leaving:
            self.should_exit = self.force_exit = True
            return
        self._lifecycle.leave()
        threading.Thread(target=self._watch, daemon=True, name="drain-watchdog").start()
        asyncio.get_running_loop().call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._drain = asyncio.create_task(self._drain_and_exit())

    async def _drain_and_exit(self) -> None:
        log.info("leaving: not ready any more, serving for another %g s", self._pre_drain)
        await asyncio.sleep(self._pre_drain)
        self._lifecycle.drain()
        log.info("draining: new work is refused")
        try:
            async with asyncio.timeout(self._drain_timeout):
                await self._lifecycle.idle()
        except TimeoutError:
            log.exception("requests are left unanswered: the drain took more than %g s", self._drain_timeout)
            self.force_exit = True
        self.should_exit = True

    def _watch(self) -> None:
        """End the process even if its event loop or a model's run is stuck."""
        threading.Event().wait(self._pre_drain + self._drain_timeout + LAST_SECONDS)
        log.error("the drain is stuck; exiting without it")
        os._exit(UNCLEAN)
