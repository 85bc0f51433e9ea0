"""Server: uvicorn, but for how it stops. A signal begins a drain; no accepted request goes without its answer.

uvicorn itself closes its listening socket at once, so that a balancer's probe finds nobody, and then dies of the signal
(status 143). Here the order is: readiness says no; the pre-drain passes, serving as ever; new work is refused with 503;
what was accepted is finished; the socket closes; exit status 0.
"""

import asyncio
import logging
import math
import os
import socket
import threading
from types import FrameType

import uvicorn

from service.lifecycle import Lifecycle

UNCLEAN = 1
LINGER = 1.0  # at most, for those who were let in but have not said yet what they want
TICK = 0.05
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
        self.unclean = False
        """Whether requests were cut off."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        """Begin the drain, or at a second signal end it. Called for SIGINT and SIGTERM, on the event loop's thread."""
        loop = asyncio.get_running_loop()
        if self._lifecycle.leaving:
            loop.call_soon_threadsafe(self._cut_off)
            return
        self._lifecycle.leave()
        threading.Thread(target=self._watch, daemon=True, name="drain-watchdog").start()
        loop.call_soon_threadsafe(self._begin)

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
            self._cut_off()
        self.should_exit = True

    def _cut_off(self) -> None:
        """Give up what is still being answered; each client is told so."""
        self.unclean = self.unclean or bool(self.server_state.tasks)
        log.error("cut off: %d requests are left unanswered", len(self.server_state.tasks))
        for task in self.server_state.tasks:
            task.cancel()
        self._lifecycle.drain()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more, answer whoever is in already, then close.

        Closing a listening socket resets the connections that wait in its backlog, and uvicorn closes those that it has
        accepted but not yet read from. So the backlog is shut and emptied first, and they get a moment.
        """
        for server in self.servers:
            for listening in server.sockets:
                with socket.socket(fileno=os.dup(listening.fileno())) as same:
                    same.listen(0)
        await asyncio.sleep(TICK)
        for server in self.servers:
            server.close()
        for _ in range(round(LINGER / TICK)):
            await asyncio.sleep(TICK)
            if all(getattr(connection, "cycle", True) for connection in self.server_state.connections):
                break
        # An answer that its client does not read to the end must not hold up the exit.
        self.config.timeout_graceful_shutdown = math.ceil(LAST_SECONDS / 2)
        await super().shutdown(sockets)

    def _watch(self) -> None:
        """End the process even if its event loop or a model's run is stuck."""
        threading.Event().wait(self._pre_drain + self._drain_timeout + LAST_SECONDS)
        log.error("the drain is stuck; exiting without it")
        os._exit(UNCLEAN)
