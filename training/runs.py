"""Numbered folders: runs/<name>/<n>/ with a training run's recipe, curve and checkpoint; models/<name>/<n>/ alike."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from service.errors import ConvscopeError
from service.inference.contract.card import InputCard
from training.calibration import fitted_temperature
from training.checkpoint import CHECKPOINT, STATE
from training.config import Recipe, as_values
from training.data.examples import Examples, Task
from training.deployed import Deployed
from training.distributed import CPU
from training.loop import Outcome, logits_of
from training.networks.table import build

RECORD = "run.json"


class RunMissing(ConvscopeError):
    """No run, or no model version, where one was asked for; or one that cannot be read."""


@dataclass(frozen=True)
class Run:
    """A run that left a checkpoint."""

    folder: Path
    name: str
    recipe: Recipe
    task: Task
    epoch: int  # whose weights the checkpoint holds
    validation_accuracy: float
    interrupted: bool
    temperature: float = 1.0  # fitted on the validation split
    start: str = ""  # flag of the weights that it began with
    origin: str = ""  # which those are, in one line

    def network(self) -> nn.Module:
        """Build the network with the checkpoint's weights, in evaluation mode. Raises RunMissing."""
        return load(self.recipe, self.task, self.folder / CHECKPOINT)

    def deployed(self) -> Deployed:
        """Build what is served: the network, its temperature and its activation. Raises RunMissing."""
        return Deployed(self.network(), self.task, self.temperature)


def record(
    folder: Path,
    name: str,
    recipe: Recipe,
    task: Task,
    outcome: Outcome,
    validation: Examples,
    start: str = "",
    origin: str = "",
    device: torch.device = CPU,
) -> Run:
    """Fit the temperature of what a run left in `folder`, and write all that is known of it beside the checkpoint."""
    logits = logits_of(load(recipe, task, folder / CHECKPOINT).to(device), validation)
    temperature = fitted_temperature(logits, validation.targets)
    best = outcome.best
    kept = best.epoch, best.validation_accuracy, outcome.interrupted
    run = Run(folder, name, recipe, task, *kept, temperature, start, origin)
    values = asdict(run) | as_json(recipe, task)
    del values["folder"]
    write_json(folder / RECORD, values)
    if not outcome.interrupted:
        (folder / STATE).unlink(missing_ok=True)
    return run


def as_json(recipe: Recipe, task: Task) -> dict[str, object]:
    """A recipe and a task as JSON has them."""
    return {"recipe": as_values(recipe), "task": asdict(task) | {"input": task.input.model_dump()}}


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write a file of JSON, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=2) + "\n")
    partial.replace(path)


def read(folder: Path) -> Run:
    """Read a run's record. Raises RunMissing."""
    try:
        values = json.loads((folder / RECORD).read_text())
        return Run(folder=folder, **values | {"recipe": Recipe(**values["recipe"]), "task": task_of(values["task"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunMissing(f"{folder} holds no finished run of `python -m training train`") from error


def task_of(values: dict[str, Any]) -> Task:
    """Read a task as `as_json` writes it."""
    sequences = {name: tuple(values[name]) for name in ("labels", "mean", "std")}
    return Task(input=InputCard(**values["input"]), **sequences)


def load(recipe: Recipe, task: Task, weights: Path) -> nn.Module:
    """Build the recipe's network and give it the weights of a safetensors file. Raises RunMissing."""
    network = build(recipe, task)
    try:
        network.load_state_dict(load_file(weights))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunMissing(f"{weights} is not there, or does not fit the network of its recipe") from error
    return network.eval()


def numbers(parent: Path) -> list[int]:
    """List the numbers of `parent`'s numbered folders, in order; none where there is no `parent`."""
    if not parent.is_dir():
        return []
    return sorted(int(path.name) for path in parent.iterdir() if path.is_dir() and path.name.isdecimal())


def newest(parent: Path, holding: str) -> Path:
    """Find the folder of the highest number that holds a file called `holding`. Raises RunMissing."""
    known = [number for number in numbers(parent) if (parent / str(number) / holding).is_file()]
    if not known:
        raise RunMissing(f"{parent} holds nothing yet: `python -m training train {parent.name} --export` fills it")
    return parent / str(known[-1])


def following(parent: Path) -> Path:
    """Name the folder after the newest; it is not made."""
    return parent / str(max(numbers(parent), default=0) + 1)
