"""Work is worth doing only while its client waits, and only until its deadline."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from service.errors import ClientGone, DeadlineExceeded

Answer = TypeVar("Answer")


async def while_wanted(request: Request, work: Coroutine[Any, Any, Answer], timeout_ms: int) -> Answer:
    """Do `work`; cancel it once the client leaves (ClientGone) or `timeout_ms` have passed (DeadlineExceeded).

    The request's body must have been read, so that all that can still come is the client's departure.
    """
    job = asyncio.ensure_future(work)
    departure = asyncio.ensure_future(_departure(request))
    try:
        await asyncio.wait({job, departure}, timeout=timeout_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        if departure.done():
            raise ClientGone("the client left before its answer")
        raise DeadlineExceeded(f"no answer within {timeout_ms} ms")
    finally:
        job.cancel()
        departure.cancel()
        await asyncio.gather(job, departure, return_exceptions=True)


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
