"""A run as it begins: recipe.json says all that going on with it takes, beside its state."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.inference.contract.card import InputCard
from training.config import Recipe
from training.data.examples import Task
from training.files import write_json
from training.folders import RunMissing

BEGUN = "recipe.json"


@dataclass(frozen=True)
class Machine:
    """What trains: versions by package, the kind of device, and how many processes."""

    versions: dict[str, str]
    device: str
    processes: int


@dataclass(frozen=True)
class Begun:
    """What is trained in a folder, from which weights, and by what."""

    folder: Path
    name: str  # of the model
    recipe: Recipe
    task: Task
    machines: tuple[Machine, ...]  # several where `--resume` went on with another
    start: str = ""  # flag of the weights that it began with
    origin: str = ""  # which those are, in one line

    @property
    def versions(self) -> dict[str, str]:
        """By package that trained: "2.8.0", or where it changed on the way "2.8.0, then 2.9.0"."""
        used: dict[str, list[str]] = {}
        for machine in self.machines:
            for package, version in machine.versions.items():
                if version not in used.setdefault(package, []):
                    used[package].append(version)
        return {package: ", then ".join(versions) for package, versions in used.items()}

    def write(self) -> None:
        """Write it into its folder, for `read_begun`."""
        values = asdict(self)
        values["task"]["input"] = self.task.input.model_dump()
        del values["folder"]
        write_json(self.folder / BEGUN, values)


def read_begun(folder: Path) -> Begun:
    """Read what was written when a run began. Raises RunMissing."""
    try:
        values = json.loads((folder / BEGUN).read_text())
        recipe, task = Recipe(**values.pop("recipe")), task_of(values.pop("task"))
        machines = tuple(Machine(**each) for each in values.pop("machines"))
        return Begun(folder, recipe=recipe, task=task, machines=machines, **values)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunMissing(f"{folder / BEGUN} is damaged, or of an older version of convscope") from error


def task_of(values: dict[str, Any]) -> Task:
    """Read a task as `Begun.write` writes it."""
    sequences = {name: tuple(values[name]) for name in ("labels", "mean", "std")}
    return Task(input=InputCard(**values["input"]), **sequences)
