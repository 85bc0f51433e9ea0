"""A card for a model that has none: what can be guessed from the file is, what cannot is asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import ValidationError

from service.errors import InvalidRequest, RunFailed
from service.inference.contract.card import ModelCard
from service.inference.contract.datatypes import DTYPES, of_onnxruntime
from service.inference.drafting.preprocessing import ways
from service.inference.graph.layers import Graph
from service.inference.serving.model import Model
from service.inference.serving.proof import FIXED_BATCH

KINDS = {3: "signal", 4: "image", 5: "volume"}
CHANNELS = (1, 3)


@dataclass(frozen=True)
class Draft:
    """The card, if there could be one; what was guessed for it, and what has to be told first."""

    card: ModelCard | None
    guessed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def draft(
    session: ort.InferenceSession,
    graph: Graph,
    labels: Sequence[str] | None = None,
    size: tuple[int, ...] | None = None,
) -> Draft:
    """Guess a card for an open model. `labels` in the order of its outputs and `size` in space override the guess."""
    try:
        return _draft(session, graph, labels, size)
    except (InvalidRequest, ValidationError) as error:
        return Draft(None, missing=(str(error),))


def _draft(
    session: ort.InferenceSession, graph: Graph, labels: Sequence[str] | None, size: tuple[int, ...] | None
) -> Draft:
    value = _only_input(session)
    layout, channels = _layout(value.shape)
    space = value.shape[2:] if layout == "NCHW" else value.shape[1:-1]
    extents = size or tuple(space)
    if len(extents) != len(space) or not all(isinstance(extent, int) for extent in extents):
        raise InvalidRequest(f"its input {value.name!r} has free extents {value.shape}: give --size, such as 224x224")
    shape = (channels, *extents) if layout == "NCHW" else (*extents, channels)
    name, scores = _scores(session, value, shape)
    names = list(labels or _numbered(scores.size))
    kind, dtype = KINDS[len(value.shape)], DTYPES[of_onnxruntime(value.type)].name
    way = {"colour": None} if kind != "image" else next(iter(ways(channels).values()))
    if kind == "image" and dtype != "uint8":
        way = next(fields for name, fields in ways(channels).items() if name.endswith("0 to 1"))
    card = ModelCard.model_validate(
        {
            "task": "binary" if scores.size == 1 else "multiclass",
            "labels": names,
            "input": {"name": value.name, "kind": kind, "size": extents, "channels": channels, "layout": layout}
            | {"dtype": dtype, **way},
            "output": {"name": name, "activation": _activation(graph.layer(name).op, scores)},
        }
    )
    if card.outputs != scores.size:
        raise InvalidRequest(f"it gives {scores.size} scores, but {len(names)} labels were given")
    return Draft(card, _guesses(card, labels))


def _only_input(session: ort.InferenceSession) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise InvalidRequest(f"it has {len(inputs)} inputs, and a card describes one: it can be served through /v2")
    [value] = inputs
    if len(value.shape) not in KINDS or of_onnxruntime(value.type) not in ("UINT8", "FP16", "FP32"):
        raise InvalidRequest(f"its input {value.name!r} is a {value.type} {value.shape}, no picture, signal or volume")
    if isinstance(value.shape[0], int) and value.shape[0] != 1:
        raise InvalidRequest(FIXED_BATCH.format(rows=value.shape[0]))
    return value


def _layout(shape: Sequence[int | str | None]) -> tuple[str, int]:
    """Where the channels are, and how many: one or three, first if both ends could be."""
    for layout, channels in (("NCHW", shape[1]), ("NHWC", shape[-1])):
        if channels in CHANNELS:
            return layout, int(channels or 0)
    raise InvalidRequest(
        f"neither end of its input {list(shape)} has one channel or three: it can be served through /v2"
    )


def _scores(session: ort.InferenceSession, value: Any, shape: tuple[int, ...]) -> tuple[str, NDArray[Any]]:
    """The output that holds the scores, and what it gives for noise."""
    if math.prod(shape) > 50_000_000:
        raise InvalidRequest(f"an input of {shape} is too large to try")
    noise = np.random.default_rng(0).random((1, *shape)).astype(DTYPES[of_onnxruntime(value.type)])
    try:
        [outputs] = Model(session, batches=False).run([{value.name: noise}])
    except RunFailed as error:
        raise InvalidRequest(f"it does not take an input of {(1, *shape)}: {error}") from error
    for name, scores in outputs.items():
        if np.ndim(scores) >= 2 and scores.dtype.kind == "f" and scores.shape[:2] == (1, scores.size):
            return name, scores
    raise InvalidRequest("none of its outputs is one row of scores: it can be served through /v2")


def _activation(op: str, scores: NDArray[Any]) -> str:
    """What the service has still to apply; scores that are probabilities already need nothing."""
    if scores.size == 1:
        return "none" if op == "Sigmoid" else "sigmoid"
    are_probabilities = bool((scores >= 0).all()) and math.isclose(float(scores.sum()), 1, abs_tol=1e-2)
    return "none" if are_probabilities else "softmax"


def _numbered(count: int) -> list[str]:
    return ["no", "yes"] if count == 1 else [f"class {index}" for index in range(count)]


def _guesses(card: ModelCard, labels: Sequence[str] | None) -> tuple[str, ...]:
    guessed = [f"layout {card.input.layout}", f"activation {card.output.activation}"]
    if card.input.kind == "image" and card.input.dtype != "uint8":
        guessed.append(f"{card.input.colour or 'grey'} in 0 to 1 (try others with --folder)")
    if labels is None:
        guessed.append("labels by number (give them with --labels)")
    return tuple(guessed)
