"""A file becomes a served model: read, opened, and held to its card's promises before it answers anybody."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort
from pydantic import ValidationError

from service.errors import ModelRejected
from service.inference.contract.card import METADATA_KEY, ModelCard
from service.inference.graph.channels import channel_axes
from service.inference.graph.layers import Graph
from service.inference.graph.soundness import age_explained, check_sound
from service.inference.looking.feature_maps import FeatureMaps
from service.inference.serving.batcher import MicroBatcher
from service.inference.serving.model import Model, Row, ServedModel
from service.inference.serving.proof import prove
from service.inference.serving.repository import is_version

CARD = "card.json"

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
            check_sound(proto)
            graph = Graph.of(proto)
            with age_explained(proto):
                session = self.open_session(str(file))
        except Exception as error:  # protobuf, onnx and onnxruntime each raise classes of their own
            raise ModelRejected(f"{file.name} cannot be opened: {error}") from error
        card = read_card(proto, file)
        model, doubt = prove(session, card, proto)
        if doubt:
            log.warning("model %s version %s is served one input at a time: %s", name, version, doubt)
        batcher = self.batcher(name, version, model)
        axes = channel_axes(proto.graph, {layer: row.shape for layer, row in graph.rows.items()})
        return ServedModel(name, version, sha256, card, graph, model, batcher, self.feature_maps(proto), axes)


def read_card(proto: onnx.ModelProto, file: Path) -> ModelCard | None:
    """The card in the folder of `file`, else in its metadata, else beside its versions, else None.

    Raises ModelRejected for one that is wrong.
    """
    try:
        text = next(_cards(proto, file), None)
        if text is None:
            return None
        card = ModelCard.model_validate_json(text)
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ModelRejected(f"its card is wrong: {error}") from error
    _check_names(card, proto)
    return card


def _cards(proto: onnx.ModelProto, file: Path) -> Iterator[str]:
    """As text, those that count most first: what lies with a version was put there for this very file."""
    if (own := file.with_name(CARD)).is_file():
        yield own.read_text(encoding="utf-8")
    yield from (entry.value for entry in proto.metadata_props if entry.key == METADATA_KEY)
    if is_version(file) and (shared := file.parent.with_name(CARD)).is_file():
        yield shared.read_text(encoding="utf-8")


def _check_names(card: ModelCard, proto: onnx.ModelProto) -> None:
    for name, values in ((card.input.name, proto.graph.input), (card.output.name, proto.graph.output)):
        if name not in [value.name for value in values]:
            raise ModelRejected(f"its card names {name!r}, which the graph does not have")
