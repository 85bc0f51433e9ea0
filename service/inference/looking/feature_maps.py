"""FeatureMaps: the sessions that yield just the layers asked for, in a lane of their own."""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from service.errors import ClientGone, InvalidRequest, NotAcceptable, QueueFull, RunFailed, Stopping, UnknownName
from service.inference.contract.datatypes import DTYPES, of_onnxruntime
from service.inference.graph.subgraph import passed_on_outputs, producers, subgraph
from service.inference.looking.layer_values import LayerValues

Array = NDArray[Any]
Answer = TypeVar("Answer")
OpenSession = Callable[[bytes], onnxruntime.InferenceSession]

NUMBERS = DTYPES.keys() - {"BYTES"}
LONGEST_REST = 0.1  # seconds
MOST_SESSIONS = 64
"""Kept at most, however small: each has about half a megabyte of its own beside its weights."""


def _as_it_is(values: LayerValues, count: int) -> LayerValues:  # noqa: ARG001 - as `cut` is called
    return values


class FeatureMaps:
    """Computes layers of one model, one request at a time, first in, first out, on one thread of its own.

    `open_session` turns the bytes of a model into a session, which should have one thread as well, and none that spins,
    so that predicting keeps the cores. It is called on the lane's thread, once for each set of layers; those last used
    are kept, as many as hold `capacity` bytes of graph and weights, at most MOST_SESSIONS and at least one; what they
    need while they run should be theirs in common (see `share_arena`). At most `queue_size` requests wait; a caller who
    leaves before his turn costs nothing. For one event loop only.
    """

    def __init__(
        self, model: onnx.ModelProto, open_session: OpenSession, capacity: int = 2**28, queue_size: int = 64
    ) -> None:
        self.model = model
        self._layers = dict.fromkeys([*producers(model.graph), *passed_on_outputs(model.graph)])
        self._open_session = open_session
        self._capacity = capacity
        self._queue_size = queue_size
        self._sessions: OrderedDict[frozenset[str], onnxruntime.InferenceSession] = OrderedDict()
        self._bytes: dict[frozenset[str], int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feature-maps")
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._closed = False
        self._began: float | None = None
        self._rests_until = 0.0

    async def compute(self, feeds: Mapping[str, Array], layers: Sequence[str]) -> LayerValues:
        """The values of `layers` for `feeds` (the graph's inputs by name, batch first where the graph has it so).

        A layer named twice is computed once. Raises InvalidRequest for no layer at all, UnknownName, QueueFull,
        Stopping, NotAcceptable for a layer that numpy cannot hold, RunFailed when onnxruntime fails. A layer may be
        text.
        """
        return await self.compute_and([feeds], layers, lambda values: values, types=DTYPES)

    async def compute_and(
        self,
        feeds: Sequence[Mapping[str, Array]],
        layers: Sequence[str],
        finish: Callable[[LayerValues], Answer],
        cut: Callable[[LayerValues, int], LayerValues] = _as_it_is,
        *,
        types: Container[str] = NUMBERS,
        leave_out: bool = False,
    ) -> Answer:
        """What `finish` makes of the values of `layers` for all `feeds`, run one after the other and then joined.

        It is made in the lane and in the same turn, so that the values of only one request are in memory, and encoding
        many of them keeps nobody from predicting; `cut` is made of each run, and the number of its inputs, before the
        next, so that what it leaves out is gone by then. A layer of another type than `types` is refused with
        NotAcceptable, or left out. Making the answer holds the interpreter: the lane then rests for as long before its
        next turn, at most LONGEST_REST, so that those who predict have their share however many look inside. Raises
        what `compute`, `cut` and `finish` raise.
        """
        self._admit(layers)
        arrived = time.perf_counter()
        await self._take_turn()
        self._began = time.perf_counter()
        gone = threading.Event()

        def turn() -> Answer:
            time.sleep(max(0.0, self._rests_until - time.perf_counter()))
            values = [
                cut(self._run(feed, layers, arrived, types, leave_out=leave_out), _inputs(feed))
                for feed in feeds
                if not gone.is_set()
            ]
            if gone.is_set():
                raise ClientGone("nobody waits for the feature maps any more")
            computed = time.perf_counter()
            try:
                return finish(values[0] if len(values) == 1 else LayerValues.joined(values))
            finally:
                finished = time.perf_counter()
                self._rests_until = finished + min(finished - computed, LONGEST_REST)

        running = asyncio.get_running_loop().run_in_executor(self._thread, turn)
        running.add_done_callback(self._end_turn)
        try:
            # A caller who leaves now must not end the turn, as the thread is still busy: wait() leaves the run alone.
            await asyncio.wait([running])
        finally:
            gone.set()
        return running.result()

    def fault(self, stuck_after: float) -> str | None:
        """Why no more answers can be hoped for, if so: a run of more than `stuck_after` seconds."""
        longest = time.perf_counter() - self._began if self._began else 0.0
        return f"feature maps have taken {longest:.0f} s so far" if longest > stuck_after else None

    async def close(self) -> None:
        """Refuse new requests, answer those that wait, end the thread and let the sessions go."""
        self._closed = True
        async with self._turn:  # which is fair: everybody who waits comes first
            self._thread.shutdown()
            self._sessions.clear()

    def _admit(self, layers: Sequence[str]) -> None:
        if self._closed:
            raise Stopping("the model is being unloaded")
        if not layers:
            raise InvalidRequest("name at least one layer")
        for layer in layers:
            if layer not in self._layers:
                raise UnknownName("layer", layer, self._layers)
        if self._waiting >= self._queue_size:
            raise QueueFull(f"{self._waiting} requests wait for feature maps already")

    async def _take_turn(self) -> None:
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1

    def _end_turn(self, running: asyncio.Future[Any]) -> None:
        running.exception()  # seen, even if its caller has left
        self._began = None
        self._turn.release()

    def _run(
        self,
        feeds: Mapping[str, Array],
        layers: Sequence[str],
        arrived: float,
        types: Container[str],
        *,
        leave_out: bool,
    ) -> LayerValues:
        started = time.perf_counter()
        try:
            session = self._session(frozenset(layers))
            wanted = _of_types(session, layers, types, leave_out=leave_out)
            needed = {value.name: feeds[value.name] for value in session.get_inputs() if value.name in feeds}
            maps = dict(zip(wanted, session.run(wanted, needed), strict=True)) if wanted else {}
        except NotAcceptable:
            raise
        except Exception as error:  # onnxruntime raises a dozen types that have no base of their own
            raise RunFailed(f"the layers cannot be computed: {error}") from error
        return LayerValues(maps, started - arrived, time.perf_counter() - started)

    def _session(self, layers: frozenset[str]) -> onnxruntime.InferenceSession:
        if layers not in self._sessions:
            part = subgraph(self.model, sorted(layers)).SerializeToString()
            self._sessions[layers], self._bytes[layers] = self._open_session(part), len(part)
        self._sessions.move_to_end(layers)
        while len(self._sessions) > 1 and self._holds_too_much():
            forgotten, _ = self._sessions.popitem(last=False)
            del self._bytes[forgotten]
        return self._sessions[layers]

    def _holds_too_much(self) -> bool:
        return len(self._sessions) > MOST_SESSIONS or sum(self._bytes.values()) > self._capacity


def _of_types(
    session: onnxruntime.InferenceSession, layers: Sequence[str], types: Container[str], *, leave_out: bool
) -> list[str]:
    """The `layers`, each once, of these types. Raises NotAcceptable for another one, unless it is to be left out."""
    found = {output.name: output.type for output in session.get_outputs()}
    others = {name for name, kind in found.items() if of_onnxruntime(kind) not in types}
    if others and not leave_out:
        name = next(layer for layer in layers if layer in others)
        raise NotAcceptable(f"layer {name!r} is a {found[name]}, which is not made of numbers that an answer can hold")
    return [layer for layer in dict.fromkeys(layers) if layer not in others]


def _inputs(feed: Mapping[str, Array]) -> int:
    shape = np.shape(next(iter(feed.values()), ()))
    return shape[0] if shape else 0
