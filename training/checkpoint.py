"""What training leaves on disk while it goes on: the best weights, the curve, and the state from which to go on."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from training.config import Recipe
from training.data.examples import Task, first_line
from training.files import write_whole
from training.folders import RunMissing
from training.learner import Epoch, Learner
from training.networks.table import build

CHECKPOINT = "checkpoint.safetensors"
CURVE = "curve.csv"
STATE = "state.pt"

STATEFUL = ("network", "averaged", "optimizer", "schedule")  # parts of a Learner


def store(learner: Learner, folder: Path) -> None:
    """Write what the last epoch brought; killed in between, `restore` makes up for it."""
    save_state(learner, folder / STATE)
    publish(learner, folder)


def publish(learner: Learner, folder: Path) -> None:
    """Write the curve, and the weights if those of the last epoch are the best."""
    if learner.rows[-1] is learner.best:
        keep(learner.averaged.module, folder / CHECKPOINT)
    write_curve(learner.rows, folder / CURVE)


def keep(network: nn.Module, path: Path) -> None:
    """Write the network's weights."""
    weights = network.state_dict()  # two of one storage, as tied weights are, are written twice
    write_whole(
        path, save({name: value.clone(memory_format=torch.contiguous_format) for name, value in weights.items()})
    )


def load(recipe: Recipe, task: Task, weights: Path) -> nn.Module:
    """Build the recipe's network and give it the weights that `keep` wrote. Raises RunMissing."""
    network = build(recipe, task)
    try:
        network.load_state_dict(load_file(weights))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunMissing(f"{weights} is not there, or does not fit the network of its recipe") from error
    return network.eval()


def write_curve(rows: list[Epoch], path: Path) -> None:
    """Write a row an epoch under a header."""
    text = StringIO(newline="")
    writer = csv.DictWriter(text, [item.name for item in fields(Epoch)])
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_whole(path, text.getvalue().encode())


def save_state(learner: Learner, path: Path) -> None:
    """Write all that going on takes."""
    parts = {name: getattr(learner, name).state_dict() for name in STATEFUL}
    content = BytesIO()  # torch.save itself reports a full disk as a RuntimeError of many lines
    torch.save({**parts, "rows": [asdict(row) for row in learner.rows], "kernels": learner.kernels}, content)
    write_whole(path, content.getbuffer())


def restore(learner: Learner, folder: Path) -> None:
    """Bring `learner` to where `store` left it in `folder`, if it did: every process to what the leader finds.

    Raises RunMissing.
    """
    state = learner.group.led(lambda: read_state(folder / STATE))
    if state is None:
        return
    with refusing(folder / STATE):
        for name in STATEFUL:
            getattr(learner, name).load_state_dict(state[name])
        learner.rows = [Epoch(**row) for row in state["rows"]]
        learner.kernels = state["kernels"]
    if learner.group.leads and learner.rows:
        publish(learner, folder)


def read_state(path: Path) -> dict[str, Any] | None:
    """Read what `save_state` wrote, if it did. Raises RunMissing."""
    if not path.exists():
        return None
    with refusing(path):
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Say in one line that the state in `path` is of no use. Raises RunMissing."""
    try:
        yield
    except Exception as error:  # damage shows in a dozen types
        raise RunMissing(f"{path} is damaged, or of another network: {first_line(error)}") from error
