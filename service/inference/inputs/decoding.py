"""Pictures are decoded beside the event loop, so that no request, however large, keeps the others from theirs."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.inference.contract.card import InputCard
from service.inference.inputs.budget import LightOnly, PixelBudget, TooHeavy
from service.inference.inputs.reading import draw_on_picture, read_picture

LIGHT = 4_000_000
"""Pixels to decode, above which a picture goes to the threads for heavy ones. A large JPEG is light: it is reduced."""

Array = NDArray[np.generic]
Drawing = TypeVar("Drawing")


class Decoder:
    """Decodes the pictures of many requests.

    Light pictures have `threads` threads that heavy ones cannot take; a request has at most one less than all of them
    at work. Heavy pictures share half as many, and are admitted by the pixels in flight.
    """

    def __init__(self, *, threads: int, max_pixels: int, max_pixels_in_flight: int) -> None:
        self._light = ThreadPoolExecutor(threads, thread_name_prefix="decoder")
        self._heavy = ThreadPoolExecutor(max(1, threads // 2), thread_name_prefix="heavy-decoder")
        self._drawing = ThreadPoolExecutor(1, thread_name_prefix="drawing")
        self._share = max(1, threads - 1)
        self._budget = PixelBudget(max_pixels_in_flight)
        self._max_pixels = max_pixels

    async def decode(self, pictures: Sequence[bytes], card: InputCard) -> list[Array]:
        """One array of `card.shape` and `card.dtype` per picture, in order.

        Raises UnreadablePicture or TooLarge for the first that is at fault; the others are then given up.
        """
        turn = asyncio.Semaphore(self._share)
        jobs = [asyncio.ensure_future(self._one(turn, picture, card, place)) for place, picture in enumerate(pictures)]
        try:
            return [await job for job in jobs]
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def draw_on(self, picture: bytes, draw: Callable[[Image.Image], Drawing]) -> Drawing:
        """What `draw` makes of a picture at its own size, see `draw_on_picture`.

        Heavy pictures are drawn on one at a time, on a thread of their own: they keep none from being decoded, and only
        one of them is in memory beyond the pixels in flight.
        """
        loop = asyncio.get_running_loop()

        def drawn(budget: PixelBudget | LightOnly) -> Drawing:
            return draw_on_picture(picture, draw, max_pixels=self._max_pixels, budget=budget)

        try:
            return await loop.run_in_executor(self._light, drawn, LightOnly(LIGHT))
        except TooHeavy:
            return await loop.run_in_executor(self._drawing, drawn, self._budget)

    def close(self) -> None:
        """Join the threads."""
        self._light.shutdown(cancel_futures=True)
        self._heavy.shutdown(cancel_futures=True)
        self._drawing.shutdown(cancel_futures=True)

    async def _one(self, turn: asyncio.Semaphore, picture: bytes, card: InputCard, index: int) -> Array:
        loop = asyncio.get_running_loop()
        async with turn:
            try:
                return await loop.run_in_executor(self._light, self._read, picture, card, index, LightOnly(LIGHT))
            except TooHeavy:
                return await loop.run_in_executor(self._heavy, self._read, picture, card, index, self._budget)

    def _read(self, picture: bytes, card: InputCard, index: int, budget: PixelBudget | LightOnly) -> Array:
        return read_picture(picture, card, max_pixels=self._max_pixels, budget=budget, index=index)
