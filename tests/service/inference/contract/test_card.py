from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from service.inference.contract.card import Golden, InputCard, ModelCard

INPUT: dict[str, Any] = {
    "name": "x",
    "kind": "image",
    "size": (4, 6),
    "channels": 3,
    "colour": "RGB",
    "layout": "NHWC",
    "dtype": "uint8",
}
CARD: dict[str, Any] = {
    "task": "multiclass",
    "labels": ("a", "b", "c"),
    "input": INPUT,
    "output": {"name": "y"},
}


def test_a_card_survives_its_json() -> None:
    pixels = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    golden = Golden.of(pixels, np.array([0.1, 0.2, 0.7], np.float32))
    card = ModelCard.model_validate({**CARD, "golden": (golden,)})
    again = ModelCard.model_validate_json(card.model_dump_json())
    assert again == card
    np.testing.assert_array_equal(again.golden[0].array("uint8"), pixels)
    assert again.golden[0].output == tuple(map(float, np.array([0.1, 0.2, 0.7], np.float32)))


def test_shape_follows_the_layout() -> None:
    assert InputCard.model_validate(INPUT).shape == (4, 6, 3)
    assert InputCard.model_validate({**INPUT, "layout": "NCHW"}).shape == (3, 4, 6)
    volume = {**INPUT, "kind": "volume", "size": (2, 4, 6), "colour": None, "layout": "NCHW", "dtype": "float32"}
    assert InputCard.model_validate(volume).shape == (3, 2, 4, 6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": (4,)}, "2 extents"),
        ({"size": (0, 4)}, "greater than 0"),
        ({"channels": 1}, "colour RGB cannot have 1"),
        ({"colour": None}, "colour None"),
        ({"scale": 0.5}, "as they are"),
        ({"dtype": "float32", "mean": (0.5,)}, "one value per channel"),
        ({"dtype": "float32", "scale": float("nan")}, "finite"),
        ({"kind": "smell"}, "kind"),
        ({"colour_space": "sRGB"}, "colour_space"),
    ],
)
def test_an_input_that_does_not_fit_together_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        InputCard.model_validate({**INPUT, **change})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "binary"}, "exactly two labels"),
        ({"golden": [{"shape": (1, 1, 1), "pixels": "AAAA", "output": (0, 0, 1)}]}, "golden input has shape"),
        ({"golden": [{"shape": (4, 6, 3), "pixels": "AAAA", "output": (0, 0, 1)}]}, "do not fill"),
        ({"golden": [{"shape": (4, 6, 3), "pixels": "A" * 96, "output": (0, 1)}]}, "2 values, not 3"),
    ],
)
def test_a_card_that_does_not_fit_together_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ModelCard.model_validate({**CARD, **change})
