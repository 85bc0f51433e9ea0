"""A run that left a checkpoint: run.json says what came of it, beside recipe.json, which says how it began."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from training.begun import Begun, read_begun
from training.calibration import fitted_temperature
from training.checkpoint import CHECKPOINT, load
from training.config import Recipe
from training.data.examples import Examples, Task
from training.deployed import Deployed
from training.distributed import CPU
from training.files import write_json
from training.folders import RunMissing
from training.loop import Outcome, logits_of

RECORD = "run.json"


@dataclass(frozen=True)
class Run:
    """What came of a run."""

    begun: Begun
    epoch: int  # whose weights the checkpoint holds
    validation_accuracy: float
    interrupted: bool
    temperature: float  # fitted on the validation split

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return self.begun.folder

    @property
    def name(self) -> str:
        """The model's."""
        return self.begun.name

    @property
    def recipe(self) -> Recipe:
        """By which it was trained."""
        return self.begun.recipe

    @property
    def task(self) -> Task:
        """What the network is for."""
        return self.begun.task

    def network(self) -> nn.Module:
        """Build the network with the checkpoint's weights, in evaluation mode. Raises RunMissing."""
        return load(self.recipe, self.task, self.folder / CHECKPOINT)

    def deployed(self) -> Deployed:
        """Build what is served: the network, its temperature and its activation. Raises RunMissing."""
        return Deployed(self.network(), self.task, self.temperature)


def record(begun: Begun, outcome: Outcome, validation: Examples, device: torch.device = CPU) -> Run:
    """Fit the temperature of what training left, and write what came of it beside the checkpoint."""
    network = load(begun.recipe, begun.task, begun.folder / CHECKPOINT).to(device)
    temperature = fitted_temperature(logits_of(network, validation), validation.targets)
    best = outcome.best
    run = Run(begun, best.epoch, best.validation_accuracy, outcome.interrupted, temperature)
    values = asdict(run)
    del values["begun"]
    write_json(begun.folder / RECORD, values)
    return run


def read(folder: Path) -> Run:
    """Read a run's record. Raises RunMissing."""
    try:
        values = json.loads((folder / RECORD).read_text())
        return Run(read_begun(folder), **values)
    except (OSError, ValueError, TypeError) as error:
        raise RunMissing(f"{folder} holds no finished run of `python -m training train`") from error
