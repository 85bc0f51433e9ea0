"""A served model: an onnxruntime session that runs rows, the batcher in front of it, and the way to look inside."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.errors import MissingCard, RunFailed
from service.inference.contract.card import ModelCard
from service.inference.contract.datatypes import DTYPES
from service.inference.contract.signature import Signature
from service.inference.graph.axes import IMAGE_ORDERS
from service.inference.graph.head import LinearHead
from service.inference.graph.layers import Graph
from service.inference.looking.feature_maps import Answer, FeatureMaps
from service.inference.looking.layer_values import LayerValues
from service.inference.looking.layout import Layout
from service.inference.looking.selection import EVERYTHING, Selection
from service.inference.serving.arena import share_arena
from service.inference.serving.batcher import Batched, MicroBatcher
from service.inference.serving.providers import Providers

Row = Mapping[str, NDArray[np.generic]]
"""One input (or output) of a model: tensor name -> array without the batch dimension."""


def row_key(row: Row) -> Hashable:
    """Rows of equal key can be stacked into one batch: same names, shapes and dtypes."""
    return tuple((name, array.shape, array.dtype) for name, array in sorted(row.items()))


def stack(rows: Sequence[Row]) -> dict[str, NDArray[np.generic]]:
    """Rows of one key -> a batch: each array gets a first dimension of `len(rows)`."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def unstack(batch: Row) -> list[Row]:
    """The inverse of `stack`. A row of shape () stays an array, too: a bare string would forget its type."""
    count = len(next(iter(batch.values()))) if batch else 0
    return [{name: values[index, ...] for name, values in batch.items()} for index in range(count)]


def only(outputs: Row) -> Row:
    """The row of a batch of one; what has another first dimension, or none, is left out."""
    return {name: values[0, ...] for name, values in outputs.items() if np.shape(values)[:1] == (1,)}


def open_session(
    model: str | bytes,
    providers: Providers,
    threads: int,
    profile: Path | None = None,
    optimised: tuple[Path, str] | None = None,
    *,
    shares_arena: bool = False,
) -> ort.InferenceSession:
    """Open an ONNX file (its path, or its bytes) on `providers`, with `threads` threads a run.

    What onnxruntime's profiler finds goes into a file whose name begins with `profile`, if given. The graph that it
    made of the model goes into the file `optimised`, its weights into another beside it. See `share_arena`.
    Raises ProviderUnavailable where it cannot run on what was demanded, else onnxruntime's own exceptions.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A thread that spins while it waits takes its core from decoding and from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if shares_arena:
        share_arena(options)
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    if optimised:
        options.optimized_model_filepath = str(optimised[0])
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", optimised[1])
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "64")
    return providers.open(model, options)


def fed_wrongly(error: RunFailed) -> bool:
    """Whether a run failed for the tensors that it got: extents that do not go together, indices out of bounds.

    onnxruntime says so by its exceptions, which it also raises when a CUDA device fails.
    """
    cause, text = error.__cause__, str(error)
    if type(cause).__module__ != ort.capi.onnxruntime_pybind11_state.__name__ or "CUD" in text or "CUBLAS" in text:
        return False
    return type(cause).__name__ == "InvalidArgument" or "while running" in text


class Model:
    """An open session; `batches` says whether rows of several requests may share one run.

    What it runs at a time is then a row, without the batch dimension; else it is a whole feed, as the graph takes it.
    """

    def __init__(self, session: ort.InferenceSession, *, batches: bool) -> None:
        self.session = session
        self.batches = batches
        self.signature = Signature.of(session.get_inputs(), session.get_outputs(), batches=batches)
        self.outputs = [output.name for output in self.signature.outputs if output.datatype in DTYPES]
        """Those that numpy can hold; onnxruntime fails when it is asked for another, bfloat16 for one."""

    @property
    def provider(self) -> str:
        """The execution provider it really runs on, which need not be the one that was wanted."""
        return str(self.session.get_providers()[0])

    @property
    def fixed_batch(self) -> int | None:
        """How many rows each run has to have, as the file fixes it; None where that is free, or the inputs differ."""
        return self.signature.fixed_batch

    def run(self, items: Sequence[Row]) -> list[Row]:
        """Run rows of one `row_key` together, or whole feeds one by one; outputs in their order. Raises RunFailed."""
        if not self.batches:
            return [self._run(feed) for feed in items]
        batch = self._run(stack(items))
        for name, value in batch.items():
            if not np.shape(value) or len(value) != len(items):
                raise RunFailed(f"output {name!r} has shape {np.shape(value)} for a batch of {len(items)}")
        return unstack(batch)

    def _run(self, feed: Row) -> Row:
        if not self.outputs:
            raise RunFailed("none of the model's outputs is of a type that numpy has")
        try:
            values = self.session.run(self.outputs, feed)
        except Exception as error:  # onnxruntime raises a class of its own for every status, all plain Exceptions
            raise RunFailed(f"the model failed: {error}") from error
        return dict(zip(self.outputs, values, strict=True))


@dataclass(frozen=True)
class ServedModel:
    """One version of one model, ready to answer."""

    name: str
    version: str
    sha256: str
    card: ModelCard | None
    graph: Graph
    model: Model
    batcher: MicroBatcher[Row, Row]
    feature_maps: FeatureMaps
    channel_axes: Mapping[str, int]
    """Of the layers that have their channels elsewhere than ONNX has them."""

    def start(self) -> None:
        """Begin to answer. Call it on the event loop."""
        self.batcher.start()

    async def stop(self) -> None:
        """Refuse new work, finish what was accepted."""
        await self.batcher.stop()
        await self.feature_maps.close()

    def fault(self, stuck_after: float) -> str | None:
        """Why it cannot be hoped to answer again, if so; see `MicroBatcher.fault`."""
        return self.batcher.fault(stuck_after) or self.feature_maps.fault(stuck_after)

    def known_card(self) -> ModelCard:
        """The card. Raises MissingCard where there is none."""
        if self.card is None:
            raise MissingCard(f"model {self.name!r} has no card, so nobody knows how to turn a picture into its input")
        return self.card

    def image_card(self) -> ModelCard:
        """The card of a model that takes pictures. Raises MissingCard when it does not say that it does."""
        card = self.known_card()
        if card.input.kind != "image":
            raise MissingCard(f"model {self.name!r} takes inputs of kind {card.input.kind!r}, not pictures")
        return card

    @cached_property
    def head(self) -> LinearHead | None:
        """How its scores follow from its last spatial layer, where that is linear and a card names the scores."""
        if self.card is None:
            return None
        orders = {self.card.input.name: IMAGE_ORDERS[self.card.input.layout]}
        return LinearHead.of(self.feature_maps.model, self.card.output.name, orders)

    async def predict(self, rows: Sequence[Row]) -> Batched[Row]:
        """The outputs for each row, without the batch dimension. Raises what `MicroBatcher.submit` raises."""
        if self.model.batches:
            return await self.batcher.submit(rows)
        batched = await self.batcher.submit([stack([row]) for row in rows])
        results = [only(outputs) for outputs in batched.results]
        if self.card and any(self.card.output.name not in row for row in results):
            raise RunFailed(f"the model gave no row of {self.card.output.name!r} for one of the inputs")
        return replace(batched, results=results)

    async def infer(self, feed: Row) -> LayerValues:
        """The outputs for a whole feed, which must fit the graph. Raises what `MicroBatcher.submit` raises."""
        batched = await self.batcher.submit(unstack(feed) if self.model.batches else [feed])
        outputs = stack(batched.results) if self.model.batches else dict(batched.results[0])
        return LayerValues(outputs, batched.queue_seconds, batched.infer_seconds)

    def layout(self, layer: str) -> Layout:
        """Where `layer` keeps the inputs and the channels. Raises UnknownName."""
        shape = self.graph.layer(layer).shape
        return Layout.of(shape, self.channel_axes.get(layer), alone=not self.model.batches)

    async def look_inside(
        self,
        rows: Sequence[Row],
        layers: Sequence[str],
        finish: Callable[[LayerValues], Answer],
        selection: Selection = EVERYTHING,
        at_once: int | None = None,
        *,
        leave_out: bool = False,
    ) -> Answer:
        """What `finish` makes, in the lane, of the `selection` of the feature maps of `layers`, first axis the rows.

        At most `at_once` rows are run together, one by one where the model cannot run several, or where nobody knows
        where one of the layers keeps them; what is not selected is dropped after each run. A layer that is not made of
        numbers is refused, or left out. Raises what `FeatureMaps.compute_and`, `LayerValues.cut` and `finish` raise.
        """
        layouts = {layer: self.layout(layer) for layer in layers}
        one_by_one = not self.model.batches or any(layout.alone for layout in layouts.values())
        step = 1 if one_by_one else at_once or len(rows)
        feeds = [stack(rows[start : start + step]) for start in range(0, len(rows), step)]

        def cut(values: LayerValues, count: int) -> LayerValues:
            return values.cut(count, layouts, selection)

        return await self.feature_maps.compute_and(feeds, layers, finish, cut, leave_out=leave_out)
