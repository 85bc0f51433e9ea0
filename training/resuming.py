"""Runs that have not come to their end: what is written down when one begins, and how it is found again."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from platform import python_version

import torch

from service.errors import InvalidRequest
from training.checkpoint import STATE
from training.config import Recipe, as_values
from training.data.examples import Task
from training.distributed import Group
from training.export import versions
from training.runs import RECORD, RunMissing, as_json, following, numbers, task_of, write_json

BEGUN = "recipe.json"
PACKAGES = ("torch", "torchvision", "numpy")


@dataclass(frozen=True)
class Begun:
    """A run as it begins: all that going on with it takes, beside its state."""

    folder: Path
    name: str
    recipe: Recipe
    task: Task
    start: str = ""  # flag of the weights that it began with
    origin: str = ""  # which those are, in one line

    def refuse_others(self, flags: Mapping[str, object]) -> None:
        """Raise InvalidRequest where `flags`, parsed arguments by name, ask for another recipe."""
        for name, value in as_values(self.recipe).items():
            if flags.get(name, value) != value:
                flag = f"--{name.replace('_', '-')}"
                raise InvalidRequest(f"{flag} {flags[name]}: {self.folder} was begun with {value}, and goes on so")

    def refuse_other_data(self, task: Task) -> None:
        """Raise InvalidRequest where `task`, that of the data at hand, is not the one the run was begun with."""
        if task != self.task:
            raise InvalidRequest(f"{self.folder} was begun with other data: other labels, or values of another mean")


def begin(
    parent: Path, name: str, recipe: Recipe, task: Task, group: Group, start: str = "", origin: str = ""
) -> Begun:
    """Make the next folder for a run, and write down what is trained there, and by what."""
    begun = Begun(following(parent), name, recipe, task, start, origin)
    begun.folder.mkdir(parents=True)
    device = torch.cuda.get_device_name(group.device) if group.device.type == "cuda" else group.device.type
    values = {"name": name, **as_json(recipe, task), "start": start, "origin": origin}
    machine = {
        "versions": {"python": python_version(), **versions(PACKAGES)},
        "device": device,
        "processes": group.size,
    }
    write_json(begun.folder / BEGUN, values | machine)
    return begun


def cut_off(parent: Path) -> Begun:
    """Find the newest run that has not come to its end. Raises RunMissing."""
    for number in reversed(numbers(parent)):
        folder = parent / str(number)
        if (folder / BEGUN).is_file() and ((folder / STATE).is_file() or not (folder / RECORD).is_file()):
            return read_begun(folder)
    raise RunMissing(f"{parent} holds no run that was cut off: there is nothing to resume")


def read_begun(folder: Path) -> Begun:
    """Read what was written when a run began. Raises RunMissing."""
    try:
        values = json.loads((folder / BEGUN).read_text())
        recipe, task = Recipe(**values["recipe"]), task_of(values["task"])
        return Begun(folder, values["name"], recipe, task, values["start"], values["origin"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunMissing(f"{folder / BEGUN} cannot be read, or is of another version of convscope") from error


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a run to ourselves until we end, however we end. Raises RunMissing where somebody else has it."""
    with (folder / BEGUN).open() as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise RunMissing(f"{folder} was not cut off: it is being trained now") from error
        yield
