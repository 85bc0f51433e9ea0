import asyncio
import threading
from dataclasses import replace

import pytest

from service.errors import UnderWay, Unprocessable
from service.inference.explaining import profile_book
from service.inference.explaining.profile import Profile
from service.inference.explaining.profile_book import ProfileBook
from service.inference.serving.model import ServedModel
from tests.service.conftest import Client
from tests.service.gate import PATIENCE, until

FOUND = Profile("CPUExecutionProvider", 1, ())


class Held:
    """In the place of a measurement: does not end before it is let go."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.entered = 0

    def __call__(self, served: ServedModel, max_batch: int) -> Profile:  # noqa: ARG002
        self.entered += 1
        assert self.free.wait(PATIENCE)
        if max_batch < 0:
            raise Unprocessable("no")
        return FOUND


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held = Held()
    monkeypatch.setattr(profile_book, "profile", held)
    return held


@pytest.fixture
def served(client: Client) -> ServedModel:
    return client.services.repository.find("tiny")


async def test_a_model_is_measured_once_at_a_time_and_remembered(served: ServedModel, held: Held) -> None:
    book = ProfileBook()
    assert book.last(served) is None
    first = asyncio.create_task(book.measure(served, 1))
    await until(lambda: held.entered == 1)
    with pytest.raises(UnderWay, match="tiny"):
        await book.measure(served, 1)
    held.free.set()
    assert await first is FOUND
    assert book.last(served) is FOUND
    assert book.last(replace(served, sha256="another file")) is None
    assert await book.measure(served, 1) is FOUND
    book.close()


async def test_whoever_leaves_lets_it_be_finished_and_remembered(served: ServedModel, held: Held) -> None:
    book = ProfileBook()
    leaving = asyncio.create_task(book.measure(served, 1))
    await until(lambda: held.entered == 1)
    leaving.cancel()
    await asyncio.wait([leaving])
    with pytest.raises(UnderWay):
        await book.measure(served, 1)
    held.free.set()
    await until(lambda: book.last(served) is FOUND)
    book.close()


async def test_a_failure_is_told_and_leaves_the_model_free(served: ServedModel, held: Held) -> None:
    book = ProfileBook()
    held.free.set()
    with pytest.raises(Unprocessable):
        await book.measure(served, -1)
    assert book.last(served) is None
    assert await book.measure(served, 1) is FOUND
    book.close()
