"""The ground that all trainings of a comparison stand on, and how to tell whether it is still the same."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from training.data.examples import Examples, Task
from training.distributed import Group
from training.resuming import machine_of


@dataclass(frozen=True)
class Ground:
    """What is the same for every network: the recipe's name, the task, and the examples to learn from and test by."""

    name: str
    task: Task
    data: Examples
    test: Examples
    judged_on: int  # of the test examples: those that are shifted and covered

    @property
    def judged(self) -> Examples:
        """The test examples that are shifted and covered."""
        return first(self.test, self.judged_on)

    @cached_property
    def digest(self) -> str:
        """Of all inputs and targets."""
        digest = hashlib.sha256()
        for part in (*self.data, *self.test):
            digest.update(part.numpy().tobytes())
        return digest.hexdigest()


def first(examples: Examples, count: int) -> Examples:
    """The first `count` of them."""
    return Examples(examples.inputs[:count], examples.targets[:count])


def installed() -> str:
    """The versions of what trains."""
    return ", ".join(f"{name} {number}" for name, number in machine_of(Group()).versions.items())
