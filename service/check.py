"""`python -m service check FILE`: what an ONNX file is, what convscope can do with it, and the card it lacks."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnx.external_data_helper import uses_external_data

from service.errors import ModelRejected
from service.inference.contract.card import ModelCard
from service.inference.contract.classes import classify
from service.inference.drafting.draft import Draft, draft
from service.inference.drafting.limits import free_extents, inside, unanswerable
from service.inference.drafting.preprocessing import MOST_PIXELS, Trial, trials
from service.inference.graph.layers import Graph
from service.inference.graph.soundness import age_explained, check_sound
from service.inference.inputs.reading import read_picture
from service.inference.serving.loading import CARD, read_card
from service.inference.serving.model import Model, open_session, stack
from service.inference.serving.proof import prove
from service.inference.serving.providers import Providers
from service.inference.serving.repository import FILE

MOST_SHOWN = 8


@dataclass(frozen=True)
class Checked:
    """An ONNX file, opened and tried."""

    file: Path
    proto: onnx.ModelProto
    graph: Graph
    session: ort.InferenceSession
    model: Model
    doubt: str | None
    draft: Draft

    @classmethod
    def of(cls, file: Path, labels: Sequence[str] | None = None, size: tuple[int, ...] | None = None) -> "Checked":
        """Open and try `file`; a card that it has is taken, else one is drafted. Raises ModelRejected."""
        try:
            proto = onnx.load(file, load_external_data=False)
            check_sound(proto)
            graph = Graph.of(proto)
            with age_explained(proto):
                session = open_session(str(file), Providers.of("auto"), threads=0)
        except Exception as error:  # protobuf, onnx and onnxruntime each raise classes of their own
            raise ModelRejected(f"{file} cannot be opened: {error}") from error
        own = read_card(proto, file)
        if own and not labels:
            return cls(file, proto, graph, session, *prove(session, own, proto), Draft(own))
        return cls(file, proto, graph, session, *_proved(session, draft(session, graph, labels, size), proto))

    def lines(self) -> Iterator[str]:
        """What there is to know, in one screen."""
        totals = self.graph.totals
        opsets = ", ".join(f"{entry.domain or 'opset'} {entry.version}" for entry in self.proto.opset_import)
        yield f"{self.file.name}: {opsets}, IR {self.proto.ir_version}, by {self.proto.producer_name or 'nobody named'}"
        for title, values in (("input", self.session.get_inputs()), ("output", self.session.get_outputs())):
            yield from _some(f"  {title:9} {value.name}: {value.type} {value.shape}" for value in values)
        yield f"  free      {', '.join(free_extents(self.session.get_inputs(), batch=True)) or 'nothing'}"
        macs = f"{totals.macs:,}" if totals.macs is not None else f"unknown ({self._why_uncounted()})"
        yield f"  layers    {totals.layers}, parameters {totals.parameters:,}, multiply-adds {macs}"
        yield f"  batches   {'yes' if self.doubt is None else f'no, one input at a time: {_line(self.doubt)}'}"
        yield "convscope can"
        yield "  serve it through /v2, and every layer of it by name" + self._but()
        if self.draft.card:
            verb = "take pictures" if self.draft.card.input.kind == "image" else f"take a {self.draft.card.input.kind}"
            yield f"  {verb} through /v1: {_described(self.draft.card)}"
        yield from (f"  guessed: {guess}" for guess in self.draft.guessed)
        yield from (f"  not serve it through /v1: {_line(missing)}" for missing in self.draft.missing)
        if hidden := inside(self.proto):
            yield f"  not show what is inside {', '.join(hidden)}: {sum(hidden.values())} nodes, none of them a layer"

    def _but(self) -> str:
        """The layers that are exceptions."""
        out = [f"{name!r} ({kind})" for name, kind in unanswerable(self.proto).items()]
        more = f" and {len(out) - MOST_SHOWN} more" if len(out) > MOST_SHOWN else ""
        return f" but {', '.join(out[:MOST_SHOWN])}{more}, which no answer can hold" if out else ""

    def _why_uncounted(self) -> str:
        free = free_extents(self.session.get_inputs(), batch=False)
        if free:
            return f"free: {', '.join(free)}"
        first, *others = self.graph.uncounted
        more = f", nor are {len(others)} more" if others else ""
        return f"layer {first!r}, a {self.graph.layer(first).op}, is not counted{more}"

    def classes(self, picture: Path, card: ModelCard) -> Iterator[str]:
        """What the model sees in a picture, the most probable first. Raises UnreadablePicture."""
        array = read_picture(picture.read_bytes(), card.input, max_pixels=MOST_PIXELS)
        feed = {card.input.name: array}
        [outputs] = self.model.run([feed] if self.model.batches else [stack([feed])])
        for score in classify(outputs[card.output.name], card, 5):
            yield f"  {score.probability:7.2%}  {score.label}"

    def trials(self, folder: Path, card: ModelCard) -> list[Trial]:
        """The preprocessings in use, by how well the model does with them on a folder of labelled pictures."""
        return trials(Model(self.session, batches=False), card, folder)


def _proved(session: ort.InferenceSession, drafted: Draft, proto: onnx.ModelProto) -> tuple[Model, str | None, Draft]:
    """A guess binds nobody: a model that does not keep to a drafted card is one without a card."""
    try:
        return *prove(session, drafted.card, proto), drafted
    except ModelRejected as error:
        return *prove(session, None, proto), Draft(None, missing=(f"a card was drafted, but {error}",))


def install(file: Path, card: ModelCard | None, models: Path, name: str) -> Path:
    """Copy `file`, with the data that it keeps beside it and its card, into `models` as the next version of `name`.

    The folder of that version; nothing of the other versions is touched. Raises ModelRejected where the file's data is
    not in its own folder, or where it would not be served: without a card of its own it has the one that lies beside
    the versions, which may be for another model.
    """
    beside = sorted(_external_data(file))
    numbers = [int(path.name) for path in (models / name).glob("*") if path.name.isdecimal()]
    folder = models / name / str(max(numbers, default=0) + 1)
    folder.mkdir(parents=True)
    try:
        _copy(file, beside, card, folder)
        if card is None:
            _check_inherited(folder / FILE)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder


def _copy(file: Path, beside: Sequence[str], card: ModelCard | None, folder: Path) -> None:
    for data in beside:
        (folder / data).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.parent / data, folder / data)
    shutil.copyfile(file, folder / FILE)
    if card:
        text = json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (folder / CARD).write_text(text + "\n", encoding="utf-8")


def _check_inherited(file: Path) -> None:
    shared = file.parent.with_name(CARD)
    if not shared.is_file():
        return
    try:
        Checked.of(file)
    except ModelRejected as error:
        raise ModelRejected(
            f"not installed, as it would not be served: {shared} is the card of every version that has none, and for "
            f"this file it is wrong ({error}); choose another name, or move that card into the folders of its versions"
        ) from error


def _external_data(file: Path) -> set[str]:
    tensors = _tensors(onnx.load(file, load_external_data=False))
    entries = (entry for tensor in tensors if uses_external_data(tensor) for entry in tensor.external_data)
    found = {entry.value for entry in entries if entry.key == "location"}
    folder = file.parent.resolve()
    for location in found:
        if not (folder / location).resolve().is_relative_to(folder):
            raise ModelRejected(f"{file.name} keeps data at {location!r}, which is outside its folder")
    return found


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Every tensor in a file, wherever: weights, also sparse ones, attributes, those of bodies and of functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in (value,) if hasattr(value, "ListFields") else value:
                yield from _tensors(inner)


def _described(card: ModelCard) -> str:
    size = "x".join(map(str, card.input.size))
    channels = card.input.colour or f"{card.input.channels}-channel"
    return f"{channels} {size}, {len(card.labels)} labels, {card.task}"


def _line(reason: str) -> str:
    """The first line: onnxruntime's complaints have several."""
    return reason.splitlines()[0]


def _some(lines: Iterator[str]) -> Iterator[str]:
    shown = list(lines)
    yield from shown[:MOST_SHOWN]
    if len(shown) > MOST_SHOWN:
        yield f"            and {len(shown) - MOST_SHOWN} more"
