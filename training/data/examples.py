"""Examples: inputs and what they show; the task that they set; and where they come from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from service.errors import ConvscopeError, InvalidRequest
from service.inference.contract.card import InputCard


class DataMissing(ConvscopeError):
    """A data set that is not there and cannot be had, or whose files cannot be read."""


class Examples(NamedTuple):
    """Inputs and what they show."""

    inputs: Tensor  # [count, *extents, channels]: uint8 pixels or voxels, float32 signals
    targets: Tensor  # int64 [count], index into the labels


@dataclass(frozen=True)
class Task:
    """What a network is for: what goes in, and what may come out. Two labels make a yes-or-no question."""

    labels: tuple[str, ...]
    input: InputCard
    mean: tuple[float, ...]  # of the values to learn from, those of uint8 scaled to 0..1; per channel
    std: tuple[float, ...]

    @property
    def kind(self) -> Literal["binary", "multiclass"]:
        """As the model card has it."""
        return "binary" if len(self.labels) == 2 else "multiclass"

    @property
    def outputs(self) -> int:
        """Logits: one a label, or one alone, for the second label, where there are two."""
        return 1 if self.kind == "binary" else len(self.labels)


@dataclass(frozen=True)
class DataSet:
    """A task, and the function that reads the training or the test part of its examples from a folder."""

    title: str
    licence: str
    task: Task
    read: Callable[[Path, bool], Examples]

    def read_training(self, folder: Path) -> Examples:
        """Read the part to learn from. Raises DataMissing."""
        return self._fitting(self.read(folder, True), folder)

    def read_test(self, folder: Path) -> Examples:
        """Read the part that nothing may be chosen by. Raises DataMissing."""
        return self._fitting(self.read(folder, False), folder)

    def _fitting(self, examples: Examples, folder: Path) -> Examples:
        shape, count = tuple(examples.inputs.shape[1:]), len(self.task.labels)
        if shape != self.task.input.shape or not len(examples.targets) or int(examples.targets.max()) >= count:
            raise DataMissing(
                f"the files in {folder} are of another data set: other labels, or inputs of shape {shape}"
            )
        return examples


def split(examples: Examples, held_out: int, seed: int) -> tuple[Examples, Examples]:
    """Part `examples` by `seed` into those to learn from and `held_out` others to choose by.

    Raises InvalidRequest when that leaves nothing to learn from.
    """
    count = len(examples.targets)
    if held_out >= count:
        raise InvalidRequest(f"--held-out {held_out} leaves nothing to learn from: there are {count} examples")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    kept, chosen = order[held_out:], order[:held_out]
    return (
        Examples(examples.inputs[kept], examples.targets[kept]),
        Examples(examples.inputs[chosen], examples.targets[chosen]),
    )


def first_line(error: Exception) -> str:
    """What went wrong, in one line: some errors explain themselves over several."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(":")
