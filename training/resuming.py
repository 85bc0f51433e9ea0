"""Runs that have not come to their end: how one begins, how it is found again, and with what it goes on."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from platform import python_version

import torch

from service.errors import InvalidRequest
from training.begun import Begun, Machine, read_begun
from training.checkpoint import STATE
from training.config import Recipe, as_values
from training.data.examples import Task
from training.distributed import Group
from training.export import versions
from training.folders import RunMissing, all_holding

PACKAGES = ("torch", "torchvision", "numpy")


def begin(
    folder: Path, name: str, recipe: Recipe, task: Task, group: Group, start: str = "", origin: str = ""
) -> Begun:
    """Make a run's folder, and write down what is trained there, and by what."""
    begun = Begun(folder, name, recipe, task, (machine_of(group),), start, origin)
    folder.mkdir(parents=True)
    begun.write()
    return begun


def gone_on(begun: Begun, group: Group) -> Begun:
    """Write this machine down, too, where it is not the one that trained last."""
    machine = machine_of(group)
    if machine == begun.machines[-1]:
        return begun
    begun = replace(begun, machines=(*begun.machines, machine))
    begun.write()
    return begun


def machine_of(group: Group) -> Machine:
    """What trains here."""
    device = torch.cuda.get_device_name(group.device) if group.device.type == "cuda" else group.device.type
    return Machine({"python": python_version(), **versions(PACKAGES)}, device, group.size)


def cut_off(parent: Path) -> Begun:
    """Find the newest run that has not come to its end and that nobody goes on with now. Raises RunMissing."""
    unfinished = all_holding(parent, STATE)
    for folder in unfinished:
        if not is_held(folder):
            return read_begun(folder)
    if unfinished:
        raise RunMissing(f"{parent} holds no run that was cut off: {unfinished[0]} is being trained now")
    raise RunMissing(f"{parent} holds no run that was cut off: there is nothing to resume")


def is_held(folder: Path) -> bool:
    """Tell whether somebody has a run to themselves."""
    try:
        with held(folder):
            return False
    except RunMissing:
        return True


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a run to ourselves until we end, however we end. Raises RunMissing where somebody else has it."""
    handle = os.open(folder, os.O_RDONLY)  # of the folder: its files are replaced by others as the run goes on
    try:
        try:
            flock(handle, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise RunMissing(f"{folder} was not cut off: it is being trained now") from error
        yield
    finally:
        os.close(handle)


def refuse_others(begun: Begun, flags: Mapping[str, object]) -> None:
    """Raise InvalidRequest where `flags`, parsed arguments by name, ask for another recipe."""
    for name, value in as_values(begun.recipe).items():
        if flags.get(name, value) != value:
            flag = f"--{name.replace('_', '-')}"
            raise InvalidRequest(f"{flag} {flags[name]}: {begun.folder} was begun with {value}, and goes on so")


def refuse_other_data(begun: Begun, task: Task) -> None:
    """Raise InvalidRequest where `task`, that of the data at hand, is not the one the run was begun with."""
    if task != begun.task:
        raise InvalidRequest(f"{begun.folder} was begun with other data: other labels, or values of another mean")
