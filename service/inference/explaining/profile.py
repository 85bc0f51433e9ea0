"""Profile: the time of each layer, from onnxruntime's own profiler."""

import json
import os
import tempfile
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from service.errors import Unprocessable
from service.inference.explaining.kernels import Kernel, Kernels
from service.inference.graph.subgraph import bodies
from service.inference.serving.model import Row, ServedModel, open_session, stack
from service.inference.serving.proof import trial_rows
from service.inference.serving.providers import AUTO, Providers

WARM_UP = 3
FEWEST_RUNS, MOST_RUNS = 5, 50
LONG_ENOUGH = 1.0
"""Seconds, after which the fewest runs are enough."""

INSIDE = "inside a body: "
KERNEL = "_kernel_time"

Feed = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class LayerTime:
    """The kernel that yields a layer, with all that was fused into it; `layer` None: what onnxruntime added itself."""

    layer: str | None
    fused: tuple[str, ...]
    """The layers that it computes on the way there."""
    op: str
    """The kernel's operator, which fusing may have changed."""
    seconds: float
    share: float
    """Of the sum over all kernels."""


@dataclass(frozen=True)
class BatchProfile:
    """One run of `batch` inputs: medians of `runs`; `run_seconds` is a whole run of the serving session beside it."""

    batch: int
    runs: int
    run_seconds: float
    ratio: float
    """Median, over the pairs of a profiled run and the whole run after it, of the first's kernels to the second."""
    layers: tuple[LayerTime, ...]

    @property
    def layer_seconds(self) -> float:
        """Sum over all kernels."""
        return sum(layer.seconds for layer in self.layers)


@dataclass(frozen=True)
class Profile:
    """The time of each layer, at one input and at the largest batch, or at the one batch that the file fixes."""

    provider: str
    threads: int
    batches: tuple[BatchProfile, ...]


def profile(served: ServedModel, max_batch: int) -> Profile:
    """Measure a copy of the serving session, with as many threads on the same provider; it takes a few seconds.

    Inputs are the card's golden ones, else noise. Writes to a temporary folder alone, which is then gone. Raises
    Unprocessable where no input can be made up.
    """
    session, model = served.model.session, served.feature_maps.model
    try:
        rows = trial_rows(session, served.card)
        if not rows:
            raise Unprocessable("no input can be made up for it: its shapes are not known, or it takes no numbers")  # noqa: TRY301
        sizes = sorted({1, max_batch}) if served.model.batches else [served.model.fixed_batch or 1]
        shown = frozenset(row.name for row in served.graph.layers)
        named = named_after_layers(model)
        feeds = {size: stack([rows[i % len(rows)] for i in range(size)]) for size in sizes}
        batches = tuple(_measured(session, named, shown, feed, size) for size, feed in feeds.items())
    except Unprocessable:
        raise
    except Exception as error:  # onnxruntime's exceptions have no base of their own
        raise Unprocessable(f"it cannot be measured: {error}") from error
    return Profile(served.model.provider, session.get_session_options().intra_op_num_threads, batches)


def named_after_layers(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes bear the name of the first layer that they yield, as the profiler tells nodes by their names.

    Those within bodies (If, Loop, Scan) are marked: their time is part of the node's around them.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        node.name = next(filter(None, node.output), "")
        for body in bodies(node):
            _mark(body)
    return copy


def _mark(body: onnx.GraphProto) -> None:
    for node in body.node:
        node.name = INSIDE + next(filter(None, node.output), "")
        for inner in bodies(node):
            _mark(inner)


def _measured(
    serving: ort.InferenceSession, model: onnx.ModelProto, shown: frozenset[str], feed: Feed, size: int
) -> BatchProfile:
    """Runs of the profiled copy and of the serving session in turn, so that both meet the same conditions."""
    whole: list[float] = []
    with tempfile.TemporaryDirectory(prefix="convscope-profile-") as folder:
        copy, kernels = _opened(serving, model, shown, Path(folder))
        for _ in range(WARM_UP):
            copy.run(None, feed)
            serving.run(None, feed)
        began = time.perf_counter()
        while len(whole) < MOST_RUNS and (len(whole) < FEWEST_RUNS or time.perf_counter() - began < LONG_ENOUGH):
            copy.run(None, feed)
            whole.append(_timed(serving, feed))
        events = json.loads(Path(copy.end_profiling()).read_bytes())
    rows = layer_times(events, kernels, len(whole))
    ratio = float(np.median(np.divide(run_times(events, len(whole)), whole)))
    return BatchProfile(size, len(whole), float(np.median(whole)), ratio, rows)


def _opened(
    serving: ort.InferenceSession, model: onnx.ModelProto, shown: frozenset[str], folder: Path
) -> tuple[ort.InferenceSession, Kernels]:
    """A profiled copy, and what its kernels compute; only what their names say where its graph cannot be written."""
    providers = Providers(AUTO, tuple(serving.get_providers()))
    threads = serving.get_session_options().intra_op_num_threads
    data, profiled = model.SerializeToString(), folder / "profile"
    try:
        (folder / "weights").symlink_to(os.devnull)  # they may be gigabytes, and nobody reads them
        copy = open_session(data, providers, threads, profiled, (folder / "graph.onnx", "weights"))
        optimised = onnx.load(folder / "graph.onnx", load_external_data=False).graph
        return copy, Kernels.read(model.graph, optimised, shown)
    except Exception:  # whatever of onnxruntime's: it need not be able to write down what it can run
        copy = open_session(data, providers, threads, profiled)
        return copy, Kernels([name for node in model.graph.node for name in node.output if name], {})


def _timed(session: ort.InferenceSession, feed: Row) -> float:
    began = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - began


def run_times(events: Sequence[Mapping[str, Any]], runs: int) -> list[float]:
    """The seconds that all kernels of each of the last `runs` took together."""
    starts = sorted(event["ts"] for event in events if event.get("name") == "model_run")[-runs:]
    totals = [0.0] * runs
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(KERNEL) and INSIDE not in name and event["ts"] >= starts[0]:
            totals[bisect_right(starts, event["ts"]) - 1] += event["dur"] / 1e6
    return totals


def layer_times(events: Sequence[Mapping[str, Any]], kernels: Kernels, runs: int) -> tuple[LayerTime, ...]:
    """The profiler's `events` of the last `runs` as layers, in the order in which they were computed."""
    starts = sorted(event["ts"] for event in events if event.get("name") == "model_run")
    durations: dict[str | tuple[str], list[float]] = {}
    found: dict[str | tuple[str], tuple[str, Kernel]] = {}
    for event in sorted(events, key=lambda event: float(event.get("ts", 0))):
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith(KERNEL) or INSIDE in name or event["ts"] < starts[-runs]:
            continue
        op, kernel = str(event["args"]["op_name"]), kernels.of(name.removesuffix(KERNEL))
        key = kernel.layer or (op,)  # what has no layer goes by its operator
        durations.setdefault(key, []).append(event["dur"] / 1e6)
        found.setdefault(key, (op, kernel))
    seconds = {key: _typical(values, runs) for key, values in durations.items()}
    total = sum(seconds.values()) or 1.0
    return tuple(
        LayerTime(found[key][1].layer, found[key][1].fused, found[key][0], value, value / total)
        for key, value in seconds.items()
    )


def _typical(values: Sequence[float], runs: int) -> float:
    """Seconds in one run: the median, unless it did not run as often in each."""
    if len(values) % runs:
        return sum(values) / runs
    return float(np.median(np.reshape(values, (runs, -1)).sum(axis=1)))
