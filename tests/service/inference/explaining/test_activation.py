"""Does the map say something about the picture and the model? After Adebayo et al., "Sanity checks for saliency maps"
(2018): it must follow the object, the class and the weights."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image

from service.errors import UnknownName
from service.inference.contract.card import ModelCard
from service.inference.explaining.activation import _by_occlusion, _exact, _spacing, index_of
from service.inference.graph.axes import IMAGE_ORDERS
from service.inference.graph.head import LinearHead
from service.inference.graph.receptive_field import Span
from service.inference.pictures.overlay import Spacing, overlay
from service.inference.serving.batcher import Batched
from service.inference.serving.model import Row, ServedModel
from tests.service.fashion import fashion
from tests.service.inference.small import Array, build, run
from tests.service.tiny import tiny_card, tiny_onnx

ROOT = Path(__file__).parents[4]
MODEL = onnx.load(ROOT / "models" / "fashion-mnist" / "1" / "model.onnx")
Numbers = NDArray[np.float64]


def seen(model: onnx.ModelProto, picture: NDArray[np.uint8], index: int | None = None) -> tuple[Numbers, int]:
    """The map of one class (None: the best) and the best class."""
    head = LinearHead.of(model, "probabilities", {"pixels": IMAGE_ORDERS["NHWC"]})
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


@pytest.mark.parametrize(("off", "exact"), [(0.0, True), (0.5, False)])
def test_what_does_not_add_up_to_the_logit_is_not_called_exact(off: float, exact: bool) -> None:
    head = LinearHead("relu", "logits", "average", (0, 1, 2, 3), (None, None), np.eye(3), np.zeros(1))
    features = np.arange(12.0, dtype=np.float32).reshape(1, 3, 2, 2)
    maps = {"relu": features, "logits": features.mean(axis=(2, 3)) + np.float32(off)}
    found = _exact(head, maps, tiny_card(tiny_onnx()), 1)
    assert (found is not None) == exact


def test_no_number_of_an_exact_map_is_a_zero_below_zero() -> None:
    head = LinearHead("relu", "logits", "average", (0, 1, 2, 3), (None, None), -np.eye(3), np.array(-0.0))
    found = _exact(head, {"relu": np.zeros((1, 3, 2, 2)), "logits": np.full((1, 3), -0.0)}, tiny_card(tiny_onnx()), 1)
    assert found
    assert not np.signbit(found[0]).any()
    assert not np.signbit(found[1:]).any()


class Pretender:
    """Answers as a served model does, each run with the same seconds."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.runs = 0

    async def predict(self, rows: Sequence[Row]) -> Batched[Row]:
        self.runs += 1
        scores = {self.card.output.name: np.array([0.2, 0.5, 0.3], np.float32)}
        return Batched([scores for _ in rows], 0.25, 0.5)


async def test_the_seconds_of_all_runs_of_an_occlusion_are_added_up() -> None:
    card = tiny_card(tiny_onnx())
    pretender = Pretender(card)
    row = {"pixels": np.zeros((8, 8, 3), np.uint8)}
    found = await _by_occlusion(cast("ServedModel", pretender), card, row, None, 16)
    assert pretender.runs == 1 + 64 // 16
    assert (found.queue_seconds, found.infer_seconds) == (0.25 * pretender.runs, 0.5 * pretender.runs)
    assert found.values.shape == (8, 8)
    assert not np.signbit(found.values).any()


def test_the_map_lies_where_its_layer_sees() -> None:
    card = tiny_card(tiny_onnx())
    head = LinearHead.of(tiny_onnx(), "probabilities", {"pixels": IMAGE_ORDERS["NHWC"]})
    assert head
    assert _spacing(head, (8, 8), card) == (Spacing.even(8), Spacing.even(8))
    moved = replace(head, spans=(Span(3, 2, 1), None))
    assert _spacing(moved, (4, 2), card) == (Spacing(2.5 / 8, 2 / 8), Spacing.even(2))


def moved(*nodes: onnx.NodeProto, **weights: Array) -> onnx.ModelProto:
    """Of `pixels` [N, 8, 8, 3] as `planes` [N, 3, 8, 8], `nodes` make `b`; the means of its planes are the scores."""
    return build(
        [
            helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]), *nodes,
            helper.make_node("Relu", ["b"], ["relu"]), helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
            helper.make_node("Flatten", ["pool"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"]),
        ],
        {"pixels": ["N", 8, 8, 3]}, ["probabilities"], weights,
    )  # fmt: skip


def cut(*numbers: list[int]) -> dict[str, Array]:
    return {name: np.array(each) for name, each in zip(("from", "to", "at", "by"), numbers, strict=True)}


SLICE = helper.make_node("Slice", ["planes", "from", "to", "at", "by"], ["b"])
GATE = [
    helper.make_node("ReduceMean", ["planes", "axes"], ["mean"], keepdims=0),
    helper.make_node("Unsqueeze", ["mean", "axes"], ["gate"]),
    helper.make_node("Mul", ["planes", "gate"], ["b"]),
]
MOVES: dict[str, tuple[onnx.ModelProto, bool]] = {
    "nothing": (moved(helper.make_node("Identity", ["planes"], ["b"])), True),
    "a gate": (moved(*GATE, axes=np.array([2, 3])), True),
    "a crop": (moved(SLICE, **cut([0, 3], [6, 8], [2, 3], [1, 1])), True),
    "padding": (
        moved(helper.make_node("Pad", ["planes", "pads"], ["b"]), pads=np.array([0, 0, 8, 0, 0, 0, 0, 3])),
        True,
    ),
    "turned and reshaped": (
        moved(
            helper.make_node("Transpose", ["planes"], ["turned"], perm=[0, 1, 3, 2]),
            helper.make_node("Reshape", ["turned", "shape"], ["b"]),
            shape=np.array([0, 3, 8, 8]),
        ),
        True,
    ),
    "upside down": (moved(SLICE, **cut([-1], [-99], [2], [-1])), False),
    "mirrored": (
        moved(helper.make_node("Gather", ["planes", "places"], ["b"], axis=3), places=np.arange(7, -1, -1)),
        False,
    ),
    "swapped": (moved(helper.make_node("Einsum", ["planes"], ["b"], equation="nchw->ncwh")), False),
    "twice": (moved(helper.make_node("Concat", ["planes", "planes"], ["b"], axis=2)), False),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_blob_is_coloured_where_it_is_or_the_map_is_not_by_cam(name: str) -> None:
    """Bright at (1, 4) of 8 x 8; the overlay of a grey picture is least grey there."""
    model, by_cam = MOVES[name]
    head = LinearHead.of(model, "probabilities", {"pixels": IMAGE_ORDERS["NHWC"]})
    assert (head is not None) == by_cam
    if not head:
        return
    picture = np.zeros((1, 8, 8, 3), np.float32)
    picture[0, 1, 4] = 1.0
    found = run(model, {"pixels": picture}, [head.layer])
    parts = head.maps(found[head.layer][0], 0)
    assert parts
    card = tiny_card(tiny_onnx())
    down, across = _spacing(head, parts[0].shape, card)
    drawn = Image.open(BytesIO(overlay(Image.new("RGB", (80, 80)), parts[0], card.input, (down, across))))
    colours = np.asarray(drawn.convert("RGB")).astype(float).sum(axis=2)
    assert centre(np.where(colours > 0.9 * colours.max(), 1.0, 0.0)) == pytest.approx((14.5, 44.5), abs=1)
