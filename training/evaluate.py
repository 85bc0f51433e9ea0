"""How good a network is: accuracy, accuracy per class, confusion matrix, for a checkpoint and for an ONNX file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from service.inference.contract.card import Evaluation
from training.data import Examples

AT_ONCE = 250

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]
Predictor = Callable[[Pixels], Probabilities]


@dataclass(frozen=True)
class Report:
    """The confusion matrix, int64 [labels, labels]: row what a picture shows, column what was seen in it."""

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Pictures judged."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of pictures that were recognised."""
        return float(np.trace(self.confusion)) / self.count

    @property
    def per_class(self) -> dict[str, float]:
        """For each label, the share of its own pictures that were recognised; 0 where it has none."""
        shown = self.confusion.sum(axis=1).clip(min=1)
        return dict(zip(self.labels, (np.diag(self.confusion) / shown).tolist(), strict=True))

    def card(self) -> Evaluation:
        """The part of a model card."""
        return Evaluation(accuracy=self.accuracy, count=self.count, per_class=self.per_class)

    def __str__(self) -> str:
        width = max(len(label) for label in self.labels)
        cell = max(5, len(str(self.confusion.max())) + 1)
        heads = "".join(f"{index:>{cell}}" for index in range(len(self.labels)))
        lines = [f"accuracy {self.accuracy:.2%} on {self.count:,} pictures", "", f"{'':{width + 4}}  right {heads}"]
        for index, (label, share) in enumerate(self.per_class.items()):
            row = "".join(f"{seen:>{cell}}" for seen in self.confusion[index])
            lines.append(f"{index:>3} {label:{width}} {share:7.1%} {row}")
        return "\n".join([*lines, "", "rows: what a picture shows; columns: what was seen in it"])


def report(probabilities: Probabilities, examples: Examples, labels: tuple[str, ...]) -> Report:
    """Judge `probabilities`, float32 [count, labels], of `examples`."""
    cells = examples.targets.numpy() * len(labels) + probabilities.argmax(axis=1)
    counts = np.bincount(cells, minlength=len(labels) ** 2)
    return Report(labels, counts.reshape(len(labels), len(labels)))


def predict(predictor: Predictor, examples: Examples) -> Probabilities:
    """Probabilities, float32 [count, labels], of all examples in order."""
    pixels = examples.pixels.numpy()
    return np.concatenate([predictor(pixels[at : at + AT_ONCE]) for at in range(0, len(pixels), AT_ONCE)])


def by_torch(network: nn.Module) -> Predictor:
    """Let PyTorch predict: softmax of the network's logits."""

    def run(pixels: Pixels) -> Probabilities:
        with torch.inference_mode():
            answer: Probabilities = network(torch.from_numpy(pixels)).softmax(dim=1).numpy()
        return answer

    network.eval()
    return run


def by_onnx(model: bytes | Path) -> Predictor:
    """Let onnxruntime predict: a model file with one input and one output of probabilities."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(pixels: Pixels) -> Probabilities:
        answer: Probabilities = session.run(None, {name: pixels})[0]
        return answer

    return run
