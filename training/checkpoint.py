"""What training leaves on disk while it goes on: the best weights, the curve, and the state from which to go on."""

import csv
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from training.learner import Epoch, Learner

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
    """Write the network's weights, whole or not at all: Ctrl-C in the middle leaves the file that was there."""
    weights = network.state_dict()  # two of one storage, as tied weights are, are written twice
    partial = path.with_suffix(".partial")
    partial.write_bytes(
        save({name: value.clone(memory_format=torch.contiguous_format) for name, value in weights.items()})
    )
    partial.replace(path)


def write_curve(rows: list[Epoch], path: Path) -> None:
    """Write a row an epoch under a header, whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, [item.name for item in fields(Epoch)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    partial.replace(path)


def save_state(learner: Learner, path: Path) -> None:
    """Write all that going on takes, whole or not at all."""
    parts = {name: getattr(learner, name).state_dict() for name in STATEFUL}
    partial = path.with_suffix(".partial")
    torch.save({**parts, "rows": [asdict(row) for row in learner.rows], "kernels": learner.kernels}, partial)
    partial.replace(path)


def restore(learner: Learner, folder: Path) -> None:
    """Bring `learner` to where `store` left it in `folder`, if it did: every process to what the leader finds."""
    state = learner.group.led(lambda: read_state(folder / STATE))
    if state is None:
        return
    for name in STATEFUL:
        getattr(learner, name).load_state_dict(state[name])
    learner.rows = [Epoch(**row) for row in state["rows"]]
    learner.kernels = state["kernels"]
    if learner.group.leads and learner.rows:
        publish(learner, folder)


def read_state(path: Path) -> dict[str, Any] | None:
    """Read what `save_state` wrote, if it did."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
