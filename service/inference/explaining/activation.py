"""ClassActivation: where in the picture a class was seen."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.errors import UnknownName
from service.inference.contract.card import ModelCard
from service.inference.contract.classes import ClassScore, classify
from service.inference.explaining.occlusion import boxes, grid, hidden
from service.inference.graph.head import LinearHead
from service.inference.looking.layer_values import LayerValues
from service.inference.pictures.overlay import Spacing
from service.inference.serving.model import Row, ServedModel

Numbers = NDArray[np.float64]

AT_A_TIME = 8
"""Most occluded inputs that stand in the queue together: whoever wants a prediction waits for no more than these."""


@dataclass(frozen=True)
class ClassActivation:
    """How much each place counted for one class of one input: a picture [H, W], a signal [L], a volume [D, H, W].

    By "cam", for pictures alone, `values` of the last spatial layer and `bias` add up to the class's `logit`, the score
    before softmax or sigmoid. By "occlusion", a value is what the class's probability loses when that place and its
    neighbours are hidden, and there is neither bias nor logit.
    """

    scored: ClassScore
    method: Literal["cam", "occlusion"]
    values: Numbers
    bias: float | None
    logit: float | None
    queue_seconds: float
    infer_seconds: float
    spacing: tuple[Spacing, ...]
    """Where the places lie in the input, along each axis of `values`."""

    def lie(self, extents: Sequence[int]) -> tuple[list[float], list[float]]:
        """In pixels or samples of an input of these extents: the centre of the first place, and the way to the next.

        One number for each axis of `values`.
        """
        along = list(zip(self.spacing, extents, strict=True))
        return [each.first * extent for each, extent in along], [each.step * extent for each, extent in along]

    @property
    def facts(self) -> dict[str, str | int | float]:
        """What the map is, beside its values: for the forms of the answer that hold nothing but the map."""
        scored = self.scored
        exact = {} if self.logit is None or self.bias is None else {"logit": self.logit, "bias": self.bias}
        facts: dict[str, str | int | float] = {"method": self.method, "label": scored.label, "index": scored.index}
        return {**facts, "probability": scored.probability, **exact}


def index_of(label: str, card: ModelCard) -> int:
    """The class that `label` names, by its name or else by its index. Raises UnknownName."""
    if label in card.labels:
        return card.labels.index(label)
    if label.isascii() and label.isdigit() and len(label) < 10 and int(label) < len(card.labels):
        return int(label)
    raise UnknownName("label", label, card.labels)


async def class_activation(
    served: ServedModel, row: Row, index: int | None, *, at_a_time: int = AT_A_TIME
) -> ClassActivation:
    """Where class `index` (None: the most probable) was seen in the one input `row`.

    Exact, by the layers' lane, where the head after the last spatial layer is a LinearHead and that has several places;
    else by occlusion, through the batcher, with `at_a_time` inputs in its queue. Raises MissingCard, and what
    `look_inside` and `predict` raise.
    """
    card = served.known_card()
    head = await asyncio.to_thread(lambda: served.head) if card.input.kind == "image" else None
    exact = await _by_cam(served, card, head, row, index) if head else None
    return exact or await _by_occlusion(served, card, row, index, at_a_time)


async def _by_cam(
    served: ServedModel, card: ModelCard, head: LinearHead, row: Row, index: int | None
) -> ClassActivation | None:
    def finish(values: LayerValues) -> ClassActivation | None:
        scored = _scored(values.maps[card.output.name], card, index)
        found = _exact(head, {**given, **values.maps}, card, scored.index)
        if found is None:
            return None
        seconds = values.queue_seconds, values.infer_seconds
        return ClassActivation(scored, "cam", *found, *seconds, _spacing(head, found[0].shape, card))

    wanted = dict.fromkeys((head.layer, head.logits, card.output.name))
    given = {name: row[name][np.newaxis] for name in wanted if name in row}  # of a head on the input itself
    return await served.look_inside([row], [name for name in wanted if name not in row], finish)


def _exact(
    head: LinearHead, maps: dict[str, NDArray[Any]], card: ModelCard, index: int
) -> tuple[Numbers, float, float] | None:
    """Map, bias and logit of a class; None unless they add up, so that what is called exact is."""
    features, logits = maps[head.layer], maps[head.logits].ravel()
    found = head.maps(features[0], 0 if card.task == "binary" else index) if features.shape[:1] == (1,) else None
    if found is None or len(logits) != card.outputs or found[0].size < 2:
        return None
    # Of two classes with one score, the score speaks for the second, and its opposite for the first.
    sign = -1.0 if card.task == "binary" and index == 0 else 1.0
    values, bias, logit = sign * found[0], sign * found[1], sign * float(logits[0 if card.task == "binary" else index])
    rounding = 2e-2 if features.dtype == np.float16 else 1e-3
    magnitude = float(np.abs(values).sum()) + abs(bias)
    values, bias, logit = values + 0.0, bias + 0.0, logit + 0.0  # no zero below zero
    return (values, bias, logit) if abs(values.sum() + bias - logit) <= rounding * magnitude else None


def _spacing(head: LinearHead, places: Sequence[int], card: ModelCard) -> tuple[Spacing, ...]:
    """The centres of what the places of the layer see; evenly over the whole input where they see all of it."""
    found = []
    for span, number, length in zip(head.spans, places, card.input.size, strict=True):
        known = span and Spacing((span.start + span.size / 2) / length, span.step / length)
        found.append(known or Spacing.even(number))
    return tuple(found)


async def _by_occlusion(
    served: ServedModel, card: ModelCard, row: Row, index: int | None, at_a_time: int
) -> ClassActivation:
    whole = await served.predict([row])
    scored = _scored(whole.results[0][card.output.name], card, index)
    places, left, queue, infer = boxes(card.input), list[float](), whole.queue_seconds, whole.infer_seconds
    for begin in range(0, len(places), at_a_time):
        rows = await asyncio.to_thread(_rows, row, card, places[begin : begin + at_a_time])
        batched = await served.predict(rows)
        left += [_scored(result[card.output.name], card, scored.index).probability for result in batched.results]
        queue, infer = queue + batched.queue_seconds, infer + batched.infer_seconds
    values = scored.probability - np.reshape(left, grid(card.input)) + 0.0
    spacing = tuple(Spacing.even(places) for places in values.shape)
    return ClassActivation(scored, "occlusion", values, None, None, queue, infer, spacing)


def _rows(row: Row, card: ModelCard, places: Sequence[tuple[slice, ...]]) -> list[Row]:
    return [{card.input.name: hidden(row[card.input.name], place, card.input)} for place in places]


def _scored(scores: NDArray[Any], card: ModelCard, index: int | None) -> ClassScore:
    """The class of that index, or the most probable one."""
    classes = classify(scores, card, len(card.labels))
    return classes[0] if index is None else next(found for found in classes if found.index == index)
