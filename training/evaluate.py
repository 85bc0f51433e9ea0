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
from training.data.examples import Examples

AT_ONCE = 250

Inputs = NDArray[np.generic]
Probabilities = NDArray[np.float32]
Predictor = Callable[[Inputs], Probabilities]


@dataclass(frozen=True)
class Report:
    """The confusion matrix, int64 [labels, labels]: row what an input shows, column what was seen in it."""

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Inputs judged."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of inputs that were recognised."""
        return float(np.trace(self.confusion)) / self.count

    @property
    def per_class(self) -> dict[str, float]:
        """For each label, the share of its own inputs that were recognised; 0 where it has none."""
        shown = self.confusion.sum(axis=1).clip(min=1)
        return dict(zip(self.labels, (np.diag(self.confusion) / shown).tolist(), strict=True))

    def card(self) -> Evaluation:
        """The part of a model card."""
        return Evaluation(accuracy=self.accuracy, count=self.count, per_class=self.per_class)

    def __str__(self) -> str:
        width = max(len(label) for label in self.labels)
        cell = max(5, len(str(self.confusion.max())) + 1)
        heads = "".join(f"{index:>{cell}}" for index in range(len(self.labels)))
        lines = [f"accuracy {self.accuracy:.2%} on {self.count:,} inputs", "", f"{'':{width + 4}}  right {heads}"]
        for index, (label, share) in enumerate(self.per_class.items()):
            row = "".join(f"{seen:>{cell}}" for seen in self.confusion[index])
            lines.append(f"{index:>3} {label:{width}} {share:7.1%} {row}")
        return "\n".join([*lines, "", "rows: what an input shows; columns: what was seen in it"])


def report(probabilities: Probabilities, examples: Examples, labels: tuple[str, ...]) -> Report:
    """Judge `probabilities`, float32 [count, outputs], of `examples`."""
    probabilities = per_label(probabilities)
    cells = examples.targets.numpy() * len(labels) + probabilities.argmax(axis=1)
    counts = np.bincount(cells, minlength=len(labels) ** 2)
    return Report(labels, counts.reshape(len(labels), len(labels)))


def predict(predictor: Predictor, examples: Examples) -> Probabilities:
    """Probabilities, float32 [count, outputs], of all examples in order."""
    return in_parts(predictor, examples.inputs.numpy())


def in_parts(predictor: Predictor, inputs: Inputs) -> Probabilities:
    """Probabilities, float32 [count, outputs], of all inputs in order, `AT_ONCE` at a time."""
    return np.concatenate([predictor(inputs[at : at + AT_ONCE]) for at in range(0, len(inputs), AT_ONCE)])


def per_label(probabilities: Probabilities) -> Probabilities:
    """One column a label, float32 [count, labels]: a single one, of the second of two labels, is made two."""
    return np.hstack([1 - probabilities, probabilities]) if probabilities.shape[1] == 1 else probabilities


def by_torch(network: nn.Module) -> Predictor:
    """Let PyTorch predict: a network that yields probabilities."""

    def run(inputs: Inputs) -> Probabilities:
        with torch.inference_mode():
            answer: Probabilities = network(torch.from_numpy(inputs)).numpy()
        return answer

    network.eval()
    return run


def by_onnx(model: bytes | Path) -> Predictor:
    """Let onnxruntime predict: a model file with one input and one output of probabilities."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(inputs: Inputs) -> Probabilities:
        answer: Probabilities = session.run(None, {name: inputs})[0]
        return answer

    return run
