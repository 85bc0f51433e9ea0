"""Pictures are decoded beside the event loop, on a few threads, admitted by the pixels in flight."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from service.inference.budget import PixelBudget
from service.inference.card import InputCard
from service.inference.inputs import read_picture


class Decoder:
    """Decodes the pictures of many requests; limits are in pixels."""

    def __init__(self, *, threads: int, max_pixels: int, max_pixels_in_flight: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decoder")
        self._budget = PixelBudget(max_pixels_in_flight)
        self._max_pixels = max_pixels

    async def decode(self, pictures: Sequence[bytes], card: InputCard) -> list[NDArray[np.generic]]:
        """One array of `card.shape` and `card.dtype` per picture, in order.

        Raises UnreadablePicture or TooLarge for the first that is at fault; the others are then given up.
        """
        loop = asyncio.get_running_loop()
        jobs = [
            loop.run_in_executor(self._threads, self._read, picture, card, index)
            for index, picture in enumerate(pictures)
        ]
        try:
            return [await job for job in jobs]
        finally:
            for job in jobs:
                job.cancel()

    def close(self) -> None:
        """Join the threads."""
        self._threads.shutdown(cancel_futures=True)

    def _read(self, picture: bytes, card: InputCard, index: int) -> NDArray[np.generic]:
        return read_picture(picture, card, max_pixels=self._max_pixels, budget=self._budget, index=index)
