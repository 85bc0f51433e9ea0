import asyncio
import io
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest
from PIL import Image

from service.errors import TooLarge, UnreadablePicture
from service.inference.contract.card import InputCard
from service.inference.inputs import decoding
from service.inference.inputs.decoding import Decoder
from service.inference.inputs.reading import read_picture

CARD = InputCard(name="x", kind="image", size=(8, 8), channels=1, colour="GREY", layout="NHWC", dtype="uint8")
PATIENCE = 60


def png(level: int, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, level).save(buffer, "PNG")
    return buffer.getvalue()


HEAVY = png(7, (2500, 2500))


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    decoder = Decoder(threads=2, max_pixels=10_000_000, max_pixels_in_flight=10_000_000)
    yield decoder
    decoder.close()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Heavy pictures are not decoded until this is set."""
    free = threading.Event()

    def hold(data: bytes, *arguments: object, **keywords: object) -> object:
        if data == HEAVY and threading.current_thread().name.startswith("heavy"):
            assert free.wait(PATIENCE)
        return read_picture(data, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(decoding, "read_picture", hold)
    return free


async def test_arrays_come_in_the_order_of_the_pictures(decoder: Decoder) -> None:
    pictures = [png(1), HEAVY, png(2), png(3)]
    arrays = await decoder.decode(pictures, CARD)
    assert [int(np.asarray(array).flat[0]) for array in arrays] == [1, 7, 2, 3]


async def test_heavy_pictures_do_not_keep_light_ones_waiting(decoder: Decoder, held: threading.Event) -> None:
    heavy = [asyncio.create_task(decoder.decode([HEAVY] * 20, CARD)) for _ in range(4)]
    for level in range(10):
        [array] = await asyncio.wait_for(decoder.decode([png(level)], CARD), PATIENCE)
        assert int(np.asarray(array).flat[0]) == level
    assert not any(task.done() for task in heavy)
    held.set()
    assert [len(arrays) for arrays in await asyncio.gather(*heavy)] == [20] * 4


async def test_the_first_bad_picture_is_named_and_the_rest_given_up(decoder: Decoder) -> None:
    with pytest.raises(UnreadablePicture, match="image 2"):
        await decoder.decode([png(1), png(2), b"no", b"neither"], CARD)
    with pytest.raises(TooLarge):
        await decoder.decode([png(1, (4000, 4000))], CARD)
    assert len(await decoder.decode([png(1)], CARD)) == 1


async def test_a_request_that_was_given_up_leaves_no_picture_behind(decoder: Decoder, held: threading.Event) -> None:
    abandoned = asyncio.create_task(decoder.decode([HEAVY] * 200, CARD))
    await asyncio.sleep(0)
    abandoned.cancel()
    await asyncio.gather(abandoned, return_exceptions=True)
    held.set()
    assert len(await asyncio.wait_for(decoder.decode([HEAVY], CARD), PATIENCE)) == 1
