import asyncio

import pytest

from service.lifecycle import Lifecycle


async def test_idle_waits_for_every_request() -> None:
    lifecycle = Lifecycle()
    await lifecycle.idle()
    with lifecycle.request():
        with lifecycle.request():
            waiting = asyncio.create_task(lifecycle.idle())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


async def test_a_request_that_fails_is_over_too() -> None:
    lifecycle = Lifecycle()
    with pytest.raises(ZeroDivisionError), lifecycle.request():
        raise ZeroDivisionError
    await lifecycle.idle()


def test_leaving_comes_before_draining() -> None:
    lifecycle = Lifecycle()
    assert (lifecycle.leaving, lifecycle.draining) == (False, False)
    lifecycle.leave()
    assert (lifecycle.leaving, lifecycle.draining) == (True, False)
    lifecycle.drain()
    assert (lifecycle.leaving, lifecycle.draining) == (True, True)
