"""Does the map say something about the picture and the model? After Adebayo et al., "Sanity checks for saliency maps"
(2018): it must follow the object, the class and the weights."""

from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from service.errors import UnknownName
from service.inference.explaining.activation import _spacing, index_of
from service.inference.graph.head import LinearHead
from service.inference.graph.layers import Graph
from service.inference.pictures.overlay import Spacing
from tests.service.fashion import fashion
from tests.service.inference.small import run
from tests.service.tiny import tiny_card, tiny_onnx

ROOT = Path(__file__).parents[4]
MODEL = onnx.load(ROOT / "models" / "fashion-mnist" / "1" / "model.onnx")
Numbers = NDArray[np.float64]


def seen(model: onnx.ModelProto, picture: NDArray[np.uint8], index: int | None = None) -> tuple[Numbers, int]:
    """The map of one class (None: the best) and the best class."""
    head = LinearHead.of(model, "probabilities")
    assert head
    values = run(model, {"pixels": picture[np.newaxis, :, :, np.newaxis]}, [head.layer, head.logits])
    best = int(values[head.logits].argmax())
    found = head.maps(values[head.layer][0], best if index is None else index)
    assert found
    return found[0], best


def rank_correlation(one: Numbers, other: Numbers) -> float:
    """Spearman's."""
    first, second = (values.ravel().argsort().argsort() - (values.size - 1) / 2 for values in (one, other))
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def randomised(seed: int) -> onnx.ModelProto:
    """The model with the numbers of every weight in another order."""
    model = onnx.ModelProto()
    model.CopyFrom(MODEL)
    random = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        if tensor.name.endswith((".weight", ".bias")):
            shuffled = random.permutation(numpy_helper.to_array(tensor).ravel()).reshape(tensor.dims)
            tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
    return model


def centre(values: Numbers) -> tuple[float, float]:
    """Of what speaks for the class, in places of the map."""
    weights = np.clip(values, 0, None)
    down, across = np.indices(values.shape)
    return float((weights * down).sum() / weights.sum()), float((weights * across).sum() / weights.sum())


def test_the_map_follows_an_object_that_moves() -> None:
    """Against the map of an empty picture, as each place of a flattened layer has weights and evidence of its own."""
    shifts = []
    for sample in sorted((ROOT / "docs" / "samples").glob("*.png")):
        small = np.asarray(Image.open(sample).convert("L").resize((14, 14)))
        index = seen(MODEL, np.pad(small, 7))[1]
        empty = seen(MODEL, np.zeros((28, 28), np.uint8), index)[0]
        centres = []
        for top, left in product((0, 14), repeat=2):
            picture = np.zeros((28, 28), np.uint8)
            picture[top : top + 14, left : left + 14] = small
            centres.append(centre(np.abs(seen(MODEL, picture, index)[0] - empty)))
        corners = np.reshape(centres, (2, 2, 2))
        shifts.append(((corners[1] - corners[0])[:, 0].mean(), (corners[:, 1] - corners[:, 0])[:, 1].mean()))
    assert len(shifts) == 5
    assert np.min(shifts) > 0
    assert np.mean(shifts, axis=0).min() > 0.3


def test_the_map_changes_with_the_class_that_is_asked_for() -> None:
    correlations = []
    for picture in fashion(20):
        best, index = seen(MODEL, picture)
        correlations += [
            rank_correlation(best, seen(MODEL, picture, other)[0]) for other in range(10) if other != index
        ]
    assert np.mean(correlations) < 0.3


def test_randomised_weights_give_another_map() -> None:
    correlations = []
    models = [randomised(seed) for seed in range(5)]
    for picture in fashion(20):
        true, index = seen(MODEL, picture)
        correlations += [rank_correlation(true, seen(model, picture, index)[0]) for model in models]
    assert np.mean(correlations) < 0.3
    assert rank_correlation(true, seen(MODEL, picture, index)[0]) == pytest.approx(1)


def test_a_class_goes_by_its_name_or_its_index() -> None:
    card = tiny_card(tiny_onnx())
    assert [index_of(label, card) for label in ("green", "1", "01")] == [1, 1, 1]
    numbers = card.model_copy(update={"labels": ("1", "2", "0")})
    assert index_of("1", numbers) == 0  # names come first


@pytest.mark.parametrize("label", ["gren", "3", "-1", "", "1.0", "²", "9" * 5000])
def test_a_class_that_there_is_not_is_told_with_the_nearest(label: str) -> None:
    with pytest.raises(UnknownName, match="green"):
        index_of(label, tiny_card(tiny_onnx()))


def test_the_map_lies_where_its_layer_sees() -> None:
    card = tiny_card(tiny_onnx())
    field = Graph.of(tiny_onnx()).rows["stem.relu"].receptive_field
    assert _spacing(field, card) == (Spacing.even(8), Spacing.even(8))
    assert _spacing(None, card) is None
