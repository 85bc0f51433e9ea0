import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.inference.contract.card import InputCard, ModelCard, OutputCard
from service.inference.contract.classes import classify


def card(activation: str = "none", *labels: str) -> ModelCard:
    return ModelCard.model_validate(
        {
            "task": "binary" if len(labels) == 2 else "multiclass",
            "labels": labels or ("cat", "dog", "owl"),
            "input": InputCard(
                name="x", kind="image", size=(8, 8), channels=1, colour="GREY", layout="NHWC", dtype="uint8"
            ),
            "output": OutputCard.model_validate({"name": "y", "activation": activation}),
        }
    )


def told(scores: list[float], of: ModelCard, top_k: int = 5) -> list[tuple[str, int, float]]:
    found = classify(np.array(scores, np.float32), of, top_k)
    return [(score.label, score.index, round(score.probability, 4)) for score in found]


def test_best_first_and_no_more_than_asked_for() -> None:
    assert told([0.2, 0.7, 0.1], card(), 2) == [("dog", 1, 0.7), ("cat", 0, 0.2)]
    assert len(told([0.2, 0.7, 0.1], card(), 1_000_000)) == 3


def test_equal_ones_stay_in_the_order_of_the_labels() -> None:
    assert [label for label, _, _ in told([0.3, 0.4, 0.3], card())] == ["dog", "cat", "owl"]


def test_logits_become_probabilities_where_the_card_says_so() -> None:
    assert told([0.0, math.log(3), 0.0], card("softmax"))[0] == ("dog", 1, 0.6)
    assert told([1000.0, 0.0, -1000.0], card("softmax"))[0] == ("cat", 0, 1.0)


@pytest.mark.parametrize(("score", "cat"), [(0.0, 0.5), (math.log(3), 0.25), (800.0, 0.0), (-800.0, 1.0)])
def test_yes_or_no_lists_both_labels(score: float, cat: float) -> None:
    found = {label: probability for label, _, probability in told([score], card("sigmoid", "cat", "dog"))}
    assert found == {"cat": pytest.approx(cat, abs=1e-4), "dog": pytest.approx(1 - cat, abs=1e-4)}


def test_yes_or_no_takes_a_probability_as_it_is() -> None:
    assert told([0.75], card("none", "cat", "dog")) == [("dog", 1, 0.75), ("cat", 0, 0.25)]


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3))
def test_softmax_always_sums_to_one(scores: list[float]) -> None:
    found = classify(np.array(scores, np.float32), card("softmax"), 3)
    assert math.isclose(sum(score.probability for score in found), 1, abs_tol=1e-9)
    assert [score.probability for score in found] == sorted((s.probability for s in found), reverse=True)
