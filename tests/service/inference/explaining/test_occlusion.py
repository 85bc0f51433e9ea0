import numpy as np
import pytest

from service.inference.contract.card import InputCard
from service.inference.explaining.occlusion import CELLS, boxes, grid, hidden


def card(height: int, width: int, layout: str = "NHWC", dtype: str = "uint8") -> InputCard:
    fields = {"name": "x", "kind": "image", "size": (height, width), "channels": 3, "colour": "RGB"}
    return InputCard.model_validate({**fields, "layout": layout, "dtype": dtype})


@pytest.mark.parametrize(("height", "width"), [(224, 224), (28, 300), (5, 1), (15, 14)])
def test_each_place_is_hidden_with_its_neighbours_and_every_pixel_is_hidden_once(height: int, width: int) -> None:
    wanted = card(height, width)
    assert grid(wanted) == (min(height, CELLS[2]), min(width, CELLS[2]))
    places = boxes(wanted)
    assert len(places) == np.prod(grid(wanted))
    often = np.zeros((height, width), int)
    for place in places:
        often[place] += 1
        assert often[place].size
    assert often.min() >= 1
    assert often.max() <= 9


def test_what_is_hidden_has_the_mean_of_each_channel_and_nothing_else_changes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    place = slice(1, 4), slice(2, 5)
    masked = hidden(pixels, place, card(6, 5))
    assert masked.dtype == np.uint8
    assert (masked[place] == np.rint(pixels.mean(axis=(0, 1)))).all()
    untouched = np.ones((6, 5), bool)
    untouched[place] = False
    assert (masked[untouched] == pixels[untouched]).all()
    first = hidden(pixels.transpose(2, 0, 1).astype(np.float32), place, card(6, 5, "NCHW", "float32"))
    np.testing.assert_allclose(first[:, 2, 3], pixels.mean(axis=(0, 1)), rtol=1e-6)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("size", [(40,), (30, 30, 30), (4, 9, 2), (5, 5, 5, 5)])
def test_signals_volumes_and_more_axes_are_hidden_likewise(size: tuple[int, ...], layout: str) -> None:
    wanted = InputCard.model_validate(
        {"name": "x", "kind": "tensor", "size": size, "channels": 2, "layout": layout, "dtype": "float32"}
    )
    places, often = boxes(wanted), np.zeros(size, int)
    assert len(places) == np.prod(grid(wanted)) <= 216
    numbers = np.random.default_rng(0).random((*size, 2), np.float32)
    means = numbers.reshape(-1, 2).mean(axis=0)
    for place in places:
        often[place] += 1
        sent = numbers if layout == "NHWC" else np.moveaxis(numbers, -1, 0)
        masked = hidden(sent, place, wanted) if layout == "NHWC" else np.moveaxis(hidden(sent, place, wanted), 0, -1)
        np.testing.assert_allclose(
            masked[place].reshape(-1, 2), np.broadcast_to(means, (often[place].size, 2)), rtol=1e-5
        )
    assert often.min() >= 1


def test_a_place_lies_in_the_middle_of_what_is_hidden_for_it() -> None:
    places = boxes(card(224, 224))
    assert places[15] == (slice(0, 48), slice(0, 48))
    assert places[17] == (slice(0, 48), slice(32, 80))
    assert places[-1] == (slice(192, 224), slice(192, 224))
