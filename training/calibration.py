"""Calibration: probabilities that mean what they say. Of the answers given with 80 %, eight in ten should be right."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

BINS = 15  # as Guo et al. have them
STEPS = 50
LEAST, MOST = 0.1, 10.0  # of a temperature: the best for a handful of examples may be none, or without end


@dataclass(frozen=True)
class Reliability:
    """Answers by their confidence, in `BINS` even bins from 0 to 1: how many, how sure and how often right."""

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]  # mean of the bin; 0 where it is empty
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error: the distance of confidence from accuracy, weighted by count, 0 to 1.

        C. Guo et al., "On calibration of modern neural networks", 2017, equation 3.
        """
        return float((np.abs(self.confidence - self.accuracy) * self.count).sum() / max(self.count.sum(), 1))


def reliability(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> Reliability:
    """Sort answers, float32 [count, labels], into bins by the probability of the class that they name."""
    confidence, right = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == targets
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    sums = (np.bincount(bins, weights=values, minlength=BINS) for values in (confidence, right))
    means = (total / np.maximum(count, 1) for total in sums)
    return Reliability(count, *means)


def fitted_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature by which `logits`, float32 [count, outputs], predict `targets`, int64 [count], best.

    It is that of the least cross-entropy from LEAST to MOST (C. Guo et al., 2017, section 4.2): one number, which
    changes no class.
    """
    logits = logits.detach().double()
    warmth = torch.zeros((), dtype=torch.float64, requires_grad=True)  # its logarithm, so that it stays above 0
    optimizer = torch.optim.LBFGS([warmth], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = loss_of(logits / warmth.exp(), targets)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return min(max(float(warmth.detach().exp()), LEAST), MOST)


def loss_of(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy in nats of logits [N, outputs]; a single one is that of the second of two labels.

    `smoothing` is the probability that is spread evenly over all labels.
    """
    if logits.shape[1] > 1:
        return cross_entropy(logits, targets, label_smoothing=smoothing)
    wanted = targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    return binary_cross_entropy_with_logits(logits[:, 0], wanted)
