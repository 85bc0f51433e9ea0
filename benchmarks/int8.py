"""How much faster is INT8?     python -m benchmarks.int8 [FOLDER]        (nothing else should run meanwhile)

Every INT8 model of the models folder (or of FOLDER) beside the float model that it was made of, as its card says: the
same golden inputs, one at a time and 32 at once, in turn within one run, so that a noisy machine is noisy for both.
The ratio is the median over neighbouring pairs. What a processor makes of 8-bit integers depends on its instructions
(avx512_vnni, avx_vnni, amx_int8), so it names those that it has.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from service.inference.contract.card import ModelCard
from service.inference.serving.loading import read_card
from service.inference.serving.model import Row, open_session
from service.inference.serving.providers import Providers

MODELS = Path(__file__).parents[1] / "models"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
BATCHES = (1, 32)
SECONDS = 10.0  # for one model and batch size
LEAST = 30  # pairs
WARM_UP = 5


def main() -> int:
    """Print one line a model and batch size; 3 where there is no pair."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else MODELS
    found = list(pairs(folder))
    if not found:
        print(
            f"{folder} holds no INT8 model beside its float one: `python -m training quantize` makes it",
            file=sys.stderr,
        )
        return 3
    print(f"instructions: {', '.join(instructions()) or 'unknown'}\n")
    print("| model | batch | float32, ms | INT8, ms | ratio | bytes, float32 / INT8 |")
    print("|---|---|---|---|---|---|")
    for source, file, card in found:
        for batch in BATCHES:
            print(compare(source, file, card, batch), flush=True)
    return 0


def pairs(folder: Path) -> Iterator[tuple[Path, Path, ModelCard]]:
    """Float file, INT8 file, and the card of the latter."""
    for file in sorted(folder.glob("*/*/model.onnx")):
        card = read_card(onnx.load(file), file)
        made = card and card.provenance and card.provenance.quantised
        source = folder / made.source / "model.onnx" if made else file
        if card and made and source.is_file():
            yield source, file, card


def compare(source: Path, file: Path, card: ModelCard, batch: int) -> str:
    """One row of the table."""
    feed = batch_of(card, batch)
    sessions = [open_session(str(path), Providers.of("cpu"), threads=0) for path in (source, file)]
    for session in sessions * WARM_UP:
        seconds(session, feed)
    times: list[list[float]] = []
    until = time.perf_counter() + SECONDS
    while len(times) < LEAST or time.perf_counter() < until:
        times.append([seconds(session, feed) for session in sessions])
    slow, fast = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
    ratio = statistics.median(one / other for one, other in times)
    size = " / ".join(f"{path.stat().st_size:,}" for path in (source, file))
    name = f"{file.parents[1].name}/{file.parent.name}"
    return f"| {name} | {batch} | {slow:.2f} | {fast:.2f} | {ratio:.2f} | {size} |"


def batch_of(card: ModelCard, count: int) -> Row:
    """The golden inputs, again and again."""
    inputs = [golden.array(card.input.dtype) for golden in card.golden]
    return {card.input.name: np.stack([inputs[index % len(inputs)] for index in range(count)])}


def seconds(session: ort.InferenceSession, feed: Row) -> float:
    """How long one run takes."""
    started = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - started


def instructions() -> list[str]:
    """Those of `FLAGS` that Linux says the processor has."""
    try:
        known = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    flags = {flag for line in known.splitlines() if line.startswith("flags") for flag in line.split()}
    return [flag for flag in FLAGS if flag in flags]


if __name__ == "__main__":
    sys.exit(main())
