"""PixelBudget: decoding admitted by the pixels in flight, so that many large pictures at once fit the memory."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class TooHeavy(Exception):
    """A picture has more pixels to decode than this thread is there for."""


class LightOnly:
    """In the place of a budget: lets pass what has at most `pixels`, without counting, and nothing else."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Go on at once. Raises TooHeavy."""
        if pixels > self._pixels:
            raise TooHeavy
        yield


class PixelBudget:
    """Admits decoding by the pixels in flight, first come, first served: many large pictures at once wait in line.

    It blocks threads, not tasks. Never more than `pixels` are held at once, except that a picture larger than the whole
    budget is admitted when nothing else is. One that waits is never overtaken, so a large one is not starved.
    """

    def __init__(self, pixels: int) -> None:
        self._size = self._free = pixels
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait for a turn, then hold `pixels` for the length of the block."""
        share = min(pixels, self._size)
        self._take(share)
        try:
            yield
        finally:
            self._give_back(share)

    def _take(self, share: int) -> None:
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            try:
                self._changed.wait_for(lambda: self._line[0] is ticket and self._free >= share)
                self._free -= share
            finally:  # also when the wait is interrupted: a ticket without an owner would close the line for good
                self._line.remove(ticket)
                self._changed.notify_all()

    def _give_back(self, share: int) -> None:
        with self._changed:
            self._free += share
            self._changed.notify_all()
