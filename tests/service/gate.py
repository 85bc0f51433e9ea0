"""Ways to hold a service still at a chosen moment, and to wait for one."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.inference.serving.model import ServedModel

PATIENCE = 60.0


class Gate:
    """Stands in for a model's session: lets nothing through until it is opened, then behaves as the session did."""

    def __init__(self, served: ServedModel) -> None:
        self._session = served.model.session
        self._open = threading.Event()
        self.entered = 0
        served.model.session = self

    def open(self) -> None:
        """Let everything through from now on."""
        self._open.set()

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> Any:
        """As the session's, once the gate is open."""
        self.entered += 1
        assert self._open.wait(PATIENCE)
        return self._session.run(outputs, feeds)


async def until(condition: Callable[[], bool]) -> None:
    """Poll until `condition` holds; fail when it does not within the patience of a test."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        await asyncio.sleep(0.001)
