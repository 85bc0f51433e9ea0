"""Lifecycle: what the process is about to do, for the doors to ask and for the server to tell."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Lifecycle:
    """Serving, then leaving (not ready any more, all else as before), then draining (new work is refused)."""

    def __init__(self) -> None:
        self.leaving = False
        self.draining = False
        self._in_flight = 0
        self._done = asyncio.Event()
        self._done.set()

    def leave(self) -> None:
        """Readiness says no from now on, so that whoever balances looks elsewhere."""
        self.leaving = True

    def drain(self) -> None:
        """Doors refuse new work from now on."""
        self.leaving = self.draining = True

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request is being answered."""
        self._in_flight += 1
        self._done.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._done.set()

    async def idle(self) -> None:
        """Wait until no request is being answered."""
        await self._done.wait()
