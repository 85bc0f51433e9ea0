"""Proof: a session is held to its card, and to giving a batch the answers that it gives each input alone."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.errors import ModelRejected, RunFailed
from service.inference.contract.card import ModelCard
from service.inference.contract.datatypes import DTYPES, of_onnxruntime
from service.inference.serving.model import Model, Row, stack

CUDA_TOLERANCE = 1e-3
ROWS = 4
MOST_NUMBERS = 50_000_000  # in one made-up input; a declared shape may be anything


def prove(session: ort.InferenceSession, card: ModelCard | None) -> tuple[Model, str | None]:
    """Run the golden inputs, or noise, alone and together; these runs also warm the session up.

    A model whose answers differ from its card's, in shape or in value, raises ModelRejected. The second value says why
    it is served one input at a time, if so.
    """
    alone = Model(session, batches=False)
    rows = trial_rows(session, card)
    try:
        singles = [_only(outputs) for outputs in alone.run([stack([row]) for row in rows])]
    except RunFailed as error:
        if card:
            raise ModelRejected(f"it does not take what its card says: {error}") from error
        return alone, f"it did not take noise of its declared shape ({error})"
    tolerance = _tolerance(card, alone)
    if card:
        _check(card, singles, tolerance)
    if not _may_batch(session):
        return alone, "its inputs and outputs share no free first dimension"
    if not rows:
        return alone, "its shapes are not known, so a batch could not be tried"
    together = Model(session, batches=True)
    if not _agrees(together, rows, singles, tolerance):
        return alone, "it gives other answers to a batch than to each of its inputs"
    return together, None


def _tolerance(card: ModelCard | None, model: Model) -> float:
    stated = card.tolerance if card else 1e-4
    return stated if model.provider == "CPUExecutionProvider" else max(stated, CUDA_TOLERANCE)


def _only(outputs: Row) -> Row:
    """The one row of a batch of one. Raises RunFailed where an output has no batch."""
    for name, value in outputs.items():
        if not np.shape(value) or len(value) != 1:
            raise RunFailed(f"output {name!r} has shape {np.shape(value)} for one input")
    return {name: value[0] for name, value in outputs.items()}


def trial_rows(session: ort.InferenceSession, card: ModelCard | None) -> list[Row]:
    """The golden inputs, else noise; none where shapes are not known or too large, or it takes no numbers."""
    return _golden_rows(card) or _made_up_rows(session, card)


def _golden_rows(card: ModelCard | None) -> list[Row]:
    if card is None:
        return []
    return [{card.input.name: golden.array(card.input.dtype)} for golden in card.golden]


def _made_up_rows(session: ort.InferenceSession, card: ModelCard | None) -> list[Row]:
    """Noise for a model without golden inputs; none where shapes are not known or too large, or it takes no numbers."""
    shapes = {value.name: tuple(value.shape[1:]) for value in session.get_inputs()}
    dtypes = {value.name: DTYPES.get(of_onnxruntime(value.type)) for value in session.get_inputs()}
    if card:
        shapes[card.input.name], dtypes[card.input.name] = card.input.shape, np.dtype(card.input.dtype)
    if not all(_is_small(shapes[name]) and _is_number(dtypes[name]) for name in shapes):
        return []
    noise = np.random.default_rng(0)
    return [{name: noise.random(shapes[name]).astype(dtypes[name]) for name in shapes} for _ in range(ROWS)]


def _is_small(shape: Sequence[object]) -> bool:
    extents = [extent for extent in shape if isinstance(extent, int)]
    return len(extents) == len(shape) and math.prod(extents) <= MOST_NUMBERS


def _is_number(dtype: np.dtype[Any] | None) -> bool:
    return dtype is not None and dtype.kind in "biuf"


def _check(card: ModelCard, singles: Sequence[Row], tolerance: float) -> None:
    for row in singles:
        scores = row[card.output.name]
        if scores.size != card.outputs or scores.dtype.kind != "f":
            raise ModelRejected(f"its output is {scores.dtype} {scores.shape}, its card says {card.outputs} floats")
    for number, (golden, row) in enumerate(zip(card.golden, singles, strict=False)):
        difference = float(np.abs(row[card.output.name].ravel() - np.asarray(golden.output)).max())
        if not difference <= tolerance:
            raise ModelRejected(f"golden input {number} gives an answer {difference:.2g} off its card's")


def _may_batch(session: ort.InferenceSession) -> bool:
    values = [*session.get_inputs(), *session.get_outputs()]
    return all(value.shape and not isinstance(value.shape[0], int) for value in values)


def _agrees(model: Model, rows: Sequence[Row], singles: Sequence[Row], tolerance: float) -> bool:
    try:
        batch = model.run(rows)
    except RunFailed:
        return False
    pairs = [(one[name], other[name]) for one, other in zip(batch, singles, strict=True) for name in one]
    return all(_alike(np.asarray(one), np.asarray(other), tolerance) for one, other in pairs)


def _alike(one: NDArray[Any], other: NDArray[Any], tolerance: float) -> bool:
    if one.shape != other.shape or one.dtype.kind == "O":  # text, which nobody rounds
        return np.array_equal(one, other)
    return np.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True)
