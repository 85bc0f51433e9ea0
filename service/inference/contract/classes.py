"""A row of scores becomes classes: the card's activation applied, labels put on, the most probable first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.inference.contract.card import ModelCard


@dataclass(frozen=True)
class ClassScore:
    """One class and its probability."""

    label: str
    index: int
    probability: float


def classify(scores: NDArray[np.generic], card: ModelCard, top_k: int) -> list[ClassScore]:
    """The `top_k` most probable classes, best first; equal ones in the order of the labels.

    `scores` is one output row of `card.outputs` values; `top_k` above the number of labels gives all of them.
    """
    probabilities = _probabilities(scores, card)
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [ClassScore(card.labels[index], int(index), float(probabilities[index])) for index in best]


def _probabilities(scores: NDArray[np.generic], card: ModelCard) -> NDArray[np.float64]:
    """One per label. A yes-or-no model gives p, the probability of its second label; the first has 1 - p."""
    values = scores.ravel().astype(np.float64)
    if card.output.activation == "softmax":
        values = _softmax(values)
    elif card.output.activation == "sigmoid":
        values = np.exp(-np.logaddexp(0, -values))
    return np.array([1 - values[0], values[0]]) if card.task == "binary" else values


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(values - values.max())
    return np.asarray(exponentials / exponentials.sum(), dtype=np.float64)
