"""Do CUDA's answers equal the CPU's, and how fast is each?     python -m benchmarks.gpu

For every model of the models folder: the golden inputs and noise go through both; the largest difference must not
exceed 1e-3, in the unit of the model's output. Exits with 1 where it does, with 3 where CUDA cannot be used.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from service.errors import ProviderUnavailable
from service.inference.contract.card import ModelCard
from service.inference.serving.loading import read_card
from service.inference.serving.model import Row, open_session, stack
from service.inference.serving.proof import CUDA_TOLERANCE
from service.inference.serving.providers import Providers

MODELS = Path(__file__).parents[1] / "models"
BATCH = 32
RUNS = 50


def main() -> int:
    """Compare every model; the exit status."""
    try:
        cuda, cpu = Providers.of("cuda"), Providers.of("cpu")
    except ProviderUnavailable as error:
        print(error, file=sys.stderr)
        return 3
    print(f"| model | largest difference | CPU, pictures/s | CUDA, pictures/s | ratio |  (batches of {BATCH})")
    print("|---|---|---|---|---|")
    return max(compare(file, cpu, cuda) for file in sorted(MODELS.glob("*/*/model.onnx")))


def compare(file: Path, cpu: Providers, cuda: Providers) -> int:
    """Print one line; 1 where the answers differ too much, else 0."""
    card = read_card(onnx.load(file), file)
    assert card is not None, f"{file} has no card"
    feed = stack(rows_of(card))
    sessions = [open_session(str(file), providers, threads=0) for providers in (cpu, cuda)]
    answers = [session.run([card.output.name], feed)[0] for session in sessions]
    difference = float(np.abs(answers[0] - answers[1]).max())
    slow, fast = (speed(session, feed) for session in sessions)
    name = f"{file.parents[1].name}/{file.parent.name}"
    print(f"| {name} | {difference:.1e} | {slow:,.0f} | {fast:,.0f} | {fast / slow:.1f} |")
    return int(not difference <= CUDA_TOLERANCE)


def rows_of(card: ModelCard) -> Sequence[Row]:
    """The golden inputs, filled up with noise to a batch."""
    dtype = np.dtype(card.input.dtype)
    noise = np.random.default_rng(0)
    made_up = [(noise.random(card.input.shape) * 255).astype(dtype) for _ in range(BATCH - len(card.golden))]
    return [{card.input.name: pixels} for pixels in (*(golden.array(dtype.name) for golden in card.golden), *made_up)]


def speed(session: ort.InferenceSession, feed: Row) -> float:
    """Inputs a second, after a warm-up."""
    for _ in range(3):
        session.run(None, feed)
    started = time.perf_counter()
    for _ in range(RUNS):
        session.run(None, feed)
    return RUNS * BATCH / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
