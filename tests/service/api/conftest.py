from collections.abc import AsyncIterator

import pytest

from tests.service.api.protocol import INFER, asking, tensor
from tests.service.conftest import Client, Serve


@pytest.fixture
async def protocol(serve: Serve) -> AsyncIterator[Client]:
    """A service that has not been hurt by what a test did to it."""
    async with serve(max_body_bytes=100_000, max_answer_bytes=20_000, max_queue_size=300) as client:
        yield client
        assert tensor(await client.post(INFER, json=asking()), "probabilities").argmax() == 1
