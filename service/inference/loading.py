"""A file becomes a served model: read, opened, and held to its card's promises before it answers anybody."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from pydantic import ValidationError

from service.errors import ModelRejected, RunFailed
from service.inference.batcher import MicroBatcher
from service.inference.card import METADATA_KEY, ModelCard
from service.inference.feature_maps import FeatureMaps
from service.inference.graph import Graph
from service.inference.model import Model, Row, ServedModel, stack, unstack

CUDA_TOLERANCE = 1e-3
PROOF_ROWS = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loader:
    """Makes served models; what surrounds the session is handed in, so that loading knows no settings."""

    open_session: Callable[[str], ort.InferenceSession]
    batcher: Callable[[str, str, Model], MicroBatcher[Row, Row]]
    feature_maps: Callable[[onnx.ModelProto], FeatureMaps]

    def load(self, name: str, version: str, file: Path) -> ServedModel:
        """Open `file` as `version` of model `name`. Raises ModelRejected with the reason."""
        try:
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            proto = onnx.load(file)
            graph = Graph.of(proto)
            session = self.open_session(str(file))
        except Exception as error:  # protobuf, onnx and onnxruntime each raise classes of their own
            raise ModelRejected(f"{file.name} cannot be opened: {error}") from error
        card = read_card(proto, file.parent.parent / "card.json")
        model = prove(session, card)
        batcher = self.batcher(name, version, model)
        return ServedModel(name, version, sha256, card, graph, model, batcher, self.feature_maps(proto))


def read_card(proto: onnx.ModelProto, beside: Path) -> ModelCard | None:
    """The card in the file's metadata, else the one `beside` its versions, else None. Raises ModelRejected."""
    text = {entry.key: entry.value for entry in proto.metadata_props}.get(METADATA_KEY)
    if text is None and beside.is_file():
        text = beside.read_text(encoding="utf-8")
    if text is None:
        return None
    try:
        card = ModelCard.model_validate_json(text)
    except ValidationError as error:
        raise ModelRejected(f"its card is wrong: {error}") from error
    _check_names(card, proto)
    return card


def _check_names(card: ModelCard, proto: onnx.ModelProto) -> None:
    for name, values in ((card.input.name, proto.graph.input), (card.output.name, proto.graph.output)):
        if name not in [value.name for value in values]:
            raise ModelRejected(f"its card names {name!r}, which the graph does not have")


def prove(session: ort.InferenceSession, card: ModelCard | None) -> Model:
    """Run the golden inputs alone and together; these runs also warm the session up.

    A model whose answers differ from the card's raises ModelRejected. One that is right alone but not in a batch is
    served one by one.
    """
    alone = Model(session, batches=False)
    rows = _golden_rows(card) or _made_up_rows(session, card)
    tolerance = _tolerance(card, alone)
    try:
        singles = [unstack(outputs)[0] for outputs in alone.run([stack([row]) for row in rows])]
    except RunFailed as error:
        raise ModelRejected(str(error)) from error
    _check_golden(card, singles, tolerance)
    together = Model(session, batches=True)
    if rows and _may_batch(session) and _agrees(together, rows, singles, tolerance):
        return together
    log.warning("this model is served one input at a time: it gave no right answers to a batch")
    return alone


def _tolerance(card: ModelCard | None, model: Model) -> float:
    stated = card.tolerance if card else 1e-4
    return stated if model.provider == "CPUExecutionProvider" else max(stated, CUDA_TOLERANCE)


def _golden_rows(card: ModelCard | None) -> list[Row]:
    if card is None:
        return []
    return [{card.input.name: golden.array(card.input.dtype)} for golden in card.golden]


def _made_up_rows(session: ort.InferenceSession, card: ModelCard | None) -> list[Row]:
    """Noise of the right shape for a model without golden inputs; none where its shape is not known."""
    shapes = {value.name: value.shape[1:] for value in session.get_inputs()}
    if card:
        shapes[card.input.name] = list(card.input.shape)
    if not all(isinstance(extent, int) for shape in shapes.values() for extent in shape):
        return []
    dtypes = {value.name: value.type for value in session.get_inputs()}
    noise = np.random.default_rng(0)
    return [
        {name: noise.random(shape).astype(_numpy_dtype(dtypes[name])) for name, shape in shapes.items()}
        for _ in range(PROOF_ROWS)
    ]


def _numpy_dtype(onnxruntime_type: str) -> np.dtype[np.generic]:
    """'tensor(float16)' -> float16."""
    name = onnxruntime_type.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(name, name))


def _check_golden(card: ModelCard | None, singles: Sequence[Row], tolerance: float) -> None:
    if card is None:
        return
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
    return all(one.shape == other.shape and np.allclose(one, other, rtol=0, atol=tolerance) for one, other in pairs)
