"""Proof: a session is held to its card, and to giving a batch the answers that it gives each input alone."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from service.errors import ModelRejected, RunFailed
from service.inference.contract.card import ModelCard
from service.inference.contract.datatypes import DTYPES, of_onnxruntime
from service.inference.contract.signature import FREE
from service.inference.graph.control import steered
from service.inference.serving.model import Model, Row, stack

CUDA_TOLERANCE = 1e-3
NOISE = ((0.0, 1.0), (0.0, 0.1), (0.9, 0.1), (0.45, 0.1))
"""Least and span of each made-up input: plain, dark, bright and flat, so that what looks at a whole batch shows."""
MOST_NUMBERS = 50_000_000  # in one made-up input; a declared shape may be anything
FIXED_BATCH = (
    "its first dimension is fixed at {rows}, and a card is for one input at a time: export it with a free one, or 1; "
    "without a card it is served through /v2 as it is"
)


def prove(
    session: ort.InferenceSession, card: ModelCard | None, proto: onnx.ModelProto | None = None
) -> tuple[Model, str | None]:
    """Run the golden inputs, or noise, alone and together; these runs also warm the session up.

    A model whose answers differ from its card's, in shape or in value, raises ModelRejected; outputs that the card does
    not name may be anything. Where the graph, `proto`, chooses by the values that it gets, no trial proves anything
    about other values. The second value says why the model is served one input at a time, if so.
    """
    alone = Model(session, batches=False)
    if card:
        _check_output(card, alone)
    rows = trial_rows(session, card)
    try:
        answers = alone.run([stack([row] * (alone.fixed_batch or 1)) for row in rows])
    except RunFailed as error:
        if card:
            raise ModelRejected(f"it does not take what its card says: {error}") from error
        return alone, _unbatched(alone) or f"it did not take noise of its declared shape ({error})"
    tolerance = _tolerance(card, alone)
    if card:
        _check(card, answers, tolerance)
    together = Model(session, batches=True)
    doubt = _unbatched(alone) or (proto and _steered(proto)) or _disagreement(together, rows, answers, tolerance)
    return (alone, doubt) if doubt else (together, None)


def _tolerance(card: ModelCard | None, model: Model) -> float:
    stated = card.tolerance if card else 1e-4
    return stated if model.provider == "CPUExecutionProvider" else max(stated, CUDA_TOLERANCE)


def trial_rows(session: ort.InferenceSession, card: ModelCard | None) -> list[Row]:
    """The golden inputs, else noise; none where shapes are not known or too large, or it takes no numbers."""
    return _golden_rows(card) or _made_up_rows(session, card)


def _golden_rows(card: ModelCard | None) -> list[Row]:
    if card is None:
        return []
    return [{card.input.name: golden.array(card.input.dtype)} for golden in card.golden]


def _made_up_rows(session: ort.InferenceSession, card: ModelCard | None) -> list[Row]:
    """Noise for a model without golden inputs; none where shapes are not known or too large, or it takes no numbers."""
    rows = Model(session, batches=False).fixed_batch or 1
    shapes = {value.name: tuple(value.shape[1:]) for value in session.get_inputs()}
    dtypes = {value.name: DTYPES.get(of_onnxruntime(value.type)) for value in session.get_inputs()}
    if card:
        shapes[card.input.name], dtypes[card.input.name] = card.input.shape, np.dtype(card.input.dtype)
    if not all(_is_small((rows, *shapes[name])) and _is_number(dtypes[name]) for name in shapes):
        return []
    noise = np.random.default_rng(0)
    return [
        {name: (base + span * noise.random(shapes[name])).astype(dtypes[name]) for name in shapes}
        for base, span in NOISE
    ]


def _is_small(shape: Sequence[object]) -> bool:
    extents = [extent for extent in shape if isinstance(extent, int)]
    return len(extents) == len(shape) and math.prod(extents) <= MOST_NUMBERS


def _is_number(dtype: np.dtype[Any] | None) -> bool:
    return dtype is not None and dtype.kind in "biuf"


def _check_output(card: ModelCard, model: Model) -> None:
    """Before anything is run: that the card's output can be answered with, one input at a time."""
    rows = model.fixed_batch
    ranks = {len(tensor.shape) for tensor in model.signature.inputs}
    if rows not in (None, 1) and ranks == {len(card.input.shape) + 1}:
        raise ModelRejected(FIXED_BATCH.format(rows=rows))
    if card.output.name not in model.outputs:
        raise ModelRejected(f"its output {card.output.name!r} is of a type that no answer can hold")


def _check(card: ModelCard, answers: Sequence[Row], tolerance: float) -> None:
    """`answers` are those to batches of one."""
    for answer in answers:
        scores = answer[card.output.name]
        if scores.shape[:1] != (1,):
            raise ModelRejected(f"its output {card.output.name!r} has shape {scores.shape} for one input, not one row")
        if scores.size != card.outputs or scores.dtype.kind != "f":
            raise ModelRejected(f"its output is {scores.dtype} {scores.shape[1:]}, its card says {card.outputs} floats")
    for number, (golden, answer) in enumerate(zip(card.golden, answers, strict=False)):
        difference = float(np.abs(answer[card.output.name].ravel() - np.asarray(golden.output)).max())
        if not difference <= tolerance:
            raise ModelRejected(f"golden input {number} gives an answer {difference:.2g} off its card's")
        if not _same_class(card, np.asarray(golden.output), answer[card.output.name].ravel()):
            raise ModelRejected(f"golden input {number} is of another class than its card says")


def _same_class(card: ModelCard, stated: NDArray[Any], given: NDArray[Any]) -> bool:
    """Whether the class is the one that the card states, unless another was as good there: tolerances may be wide."""
    if stated.size == 1:  # of the second of two labels; the other has the rest
        middle = [0.0] if card.output.activation == "sigmoid" else [0.5]
        stated, given = np.append(middle, stated), np.append(middle, given)
    return bool(stated.max() - stated[given.argmax()] <= CUDA_TOLERANCE)


def _unbatched(model: Model) -> str | None:
    """Why its shapes alone forbid batches, if they do; an output that numpy cannot hold is never asked for."""
    if not model.signature.inputs:
        return "it has no inputs"
    given = [("output", tensor) for tensor in model.signature.outputs if tensor.name in model.outputs]
    for kind, tensor in (*(("input", tensor) for tensor in model.signature.inputs), *given):
        if tensor.shape[:1] != (FREE,):
            why = f"is fixed at {tensor.shape[0]}" if tensor.shape else "is not there, or not known"
            return f"its inputs and outputs share no free first dimension: that of {kind} {tensor.name!r} {why}"
    return None


def _steered(proto: onnx.ModelProto) -> str | None:
    """Why its control flow forbids batches, if it does."""
    layer = steered(proto)
    if layer is None:
        return None
    return (
        f"what is computed for {layer!r} is decided by an If or a Loop from the values given, which in a batch "
        "would be those of all its inputs together"
    )


def _disagreement(model: Model, rows: Sequence[Row], answers: Sequence[Row], tolerance: float) -> str | None:
    """Why a batch of `rows` is not what `answers`, those to batches of one, are together, if so."""
    if not rows:
        return "no batch could be tried: its shapes are not known or too large, or it takes no numbers"
    for name, values in answers[0].items():
        if np.shape(values)[:1] != (1,):
            return f"output {name!r} has shape {np.shape(values)} for one input, not one row"
    try:
        batch = model.run(rows)
    except RunFailed as error:
        return f"it did not take a batch ({error})"
    pairs = [(row[name], answer[name][0, ...]) for row, answer in zip(batch, answers, strict=True) for name in row]
    if all(_alike(one, other, tolerance) for one, other in pairs):
        return None
    return "it gives other answers to a batch than to each of its inputs"


def _alike(one: NDArray[Any], other: NDArray[Any], tolerance: float) -> bool:
    if one.shape != other.shape or one.dtype.kind == "O":  # text, which nobody rounds
        return np.array_equal(one, other)
    return np.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True)
