"""Training, top to bottom: one epoch, many epochs, the best checkpoint kept on disk all the while."""

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NoReturn, TypeAlias

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.optimizer import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from service.errors import ConvscopeError
from training.calibration import loss_of
from training.config import Recipe
from training.data.augmentation import augmentation, mirrored, whose_turn
from training.data.examples import Examples, Task
from training.networks.table import build
from training.networks.whitened import Whitened

CHECKPOINT = "checkpoint.safetensors"
CURVE = "curve.csv"
STATE = "state.pt"
JUDGED_AT_ONCE = 250
LOOKED_AT = 5000  # pictures from which the first layer is computed

STATEFUL = ("network", "averaged", "optimizer", "schedule")  # parts of a Learner

Progress: TypeAlias = "tqdm[NoReturn]"


class NothingKept(ConvscopeError):
    """Training ended before there was a checkpoint."""


@dataclass(frozen=True)
class Epoch:
    """One row of the curve. Losses in nats; the training figures are those of augmented pictures, while learning."""

    epoch: int
    training_loss: float
    training_accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Outcome:
    """What training leaves: the epoch whose weights lie in the checkpoint, and whether somebody cut it short."""

    best: Epoch
    interrupted: bool


@dataclass
class Learner:
    """What changes from step to step. `averaged` holds the running average of the weights: it is what is kept."""

    network: nn.Module
    averaged: AveragedModel
    optimizer: Optimizer
    schedule: LRScheduler
    recipe: Recipe
    epochs: int = 0


@dataclass
class Tally:
    """Loss and hits, summed over batches."""

    count: int = 0
    summed: float = 0.0
    hits: int = 0

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Count a batch: `loss` its mean, `logits` [N, outputs], `targets` [N]."""
        self.count += len(targets)
        self.summed += loss.item() * len(targets)
        self.hits += int((classes_of(logits) == targets).sum())

    @property
    def loss(self) -> float:
        """Mean over all examples counted."""
        return self.summed / max(self.count, 1)

    @property
    def accuracy(self) -> float:
        """Share of all examples counted."""
        return self.hits / max(self.count, 1)


def train(recipe: Recipe, task: Task, training: Examples, validation: Examples, folder: Path) -> Outcome:
    """Train the recipe's network; leave its best checkpoint, by validation accuracy, and the curve in `folder`.

    A folder in which a run was cut off is gone on with, from the end of its last whole epoch. Ctrl-C keeps the best so
    far; before the first epoch is over there is none: raises NothingKept.
    """
    torch.manual_seed(recipe.seed)
    steps = -(-len(training.targets) // recipe.batch)
    learner = prepare(recipe, task, training, steps)
    best = restore(learner, folder / STATE)
    interrupted = False
    try:
        with tqdm(total=recipe.epochs * steps, initial=learner.epochs * steps, unit="step") as bar:
            for number in range(learner.epochs + 1, recipe.epochs + 1):
                bar.set_description(f"epoch {number}/{recipe.epochs}")
                learnt = learn(learner, shuffled(training, recipe, number), bar)
                row = Epoch(number, *learnt, *judge(learner.averaged, validation))
                bar.write(f"epoch {number}: validation accuracy {row.validation_accuracy:.2%}")
                if best is None or row.validation_accuracy > best.validation_accuracy:
                    keep(learner.averaged.module, folder / CHECKPOINT)
                    best = row
                append(row, folder / CURVE)
                learner.epochs = number
                save_state(learner, best, folder / STATE)
        (folder / STATE).unlink(missing_ok=True)
    except KeyboardInterrupt:
        interrupted = True
    if best is None:
        raise NothingKept("interrupted before the first epoch was over: there is nothing to keep")
    return Outcome(best, interrupted)


def prepare(recipe: Recipe, task: Task, training: Examples, steps: int) -> Learner:
    """Make the network and all that changes it, for `steps` steps an epoch."""
    network: nn.Module = build(recipe, task)
    if isinstance(network, Whitened):
        network.fit(training.inputs[:LOOKED_AT])
    if len(task.input.size) == 2:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.4 times as fast on a CPU
    optimizer = torch.optim.SGD(
        groups(network, recipe), recipe.learning_rate, recipe.momentum, nesterov=recipe.momentum > 0
    )
    average = get_ema_multi_avg_fn(recipe.averaging)  # type: ignore[no-untyped-call]
    return Learner(
        network=network,
        averaged=AveragedModel(network, multi_avg_fn=average, use_buffers=True),
        optimizer=optimizer,
        schedule=LambdaLR(optimizer, lambda step: one_cycle(step / (recipe.epochs * steps), recipe.warmup)),
        recipe=recipe,
    )


def groups(network: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """The parameters that learn, biases apart. Rate times decay, the pull a step, is the same for both."""
    weights = [weight for weight in network.parameters() if weight.requires_grad and weight.ndim > 1]
    biases = [weight for weight in network.parameters() if weight.requires_grad and weight.ndim == 1]
    rates = ((weights, 1.0), (biases, recipe.bias_rate))
    return [
        {"params": part, "lr": rate * recipe.learning_rate, "weight_decay": recipe.weight_decay / rate}
        for part, rate in rates
    ]


def one_cycle(progress: float, warmup: float) -> float:
    """Share of the peak learning rate after `progress` (0 to 1): up in a line until `warmup`, down in a cosine to 0."""
    if progress < warmup:
        return max(progress, 0.01) / warmup
    return (1 + math.cos(math.pi * (progress - warmup) / max(1 - warmup, 1e-9))) / 2


def shuffled(examples: Examples, recipe: Recipe, epoch: int) -> Iterator[Examples]:
    """All examples once, in random order, augmented, in batches."""
    augment = augmentation(recipe, examples.inputs.shape[1:])
    turns = whose_turn(len(examples.targets), recipe.flip, epoch, recipe.seed)
    for chosen in torch.split(torch.randperm(len(examples.targets)), recipe.batch):
        yield Examples(augment(mirrored(examples.inputs[chosen], turns[chosen])), examples.targets[chosen])


def learn(learner: Learner, batches: Iterable[Examples], bar: Progress) -> tuple[float, float]:
    """One epoch: a step of the optimizer for each batch. Returns mean loss and accuracy while learning."""
    recipe = learner.recipe
    learner.network.train()
    tally = Tally()
    for inputs, targets in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = learner.network(inputs).float() * recipe.logit_scale
        loss = loss_of(logits, targets, recipe.label_smoothing)
        learner.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        learner.optimizer.step()
        learner.schedule.step()
        learner.averaged.update_parameters(learner.network)
        tally.add(loss, logits, targets)
        bar.update()
        bar.set_postfix(loss=f"{tally.loss:.3f}", accuracy=f"{tally.accuracy:.2%}", refresh=False)
    return tally.loss, tally.accuracy


def judge(network: nn.Module, examples: Examples) -> tuple[float, float]:
    """Mean loss and accuracy on `examples` as they are."""
    logits, tally = logits_of(network, examples), Tally()
    tally.add(loss_of(logits, examples.targets), logits, examples.targets)
    return tally.loss, tally.accuracy


@torch.inference_mode()
def logits_of(network: nn.Module, examples: Examples) -> Tensor:
    """Logits, float32 [count, outputs], of `examples` as they are."""
    network.eval()
    return torch.cat([network(inputs) for inputs in torch.split(examples.inputs, JUDGED_AT_ONCE)])


def classes_of(logits: Tensor) -> Tensor:
    """The class that each row of logits [N, outputs] names, int64 [N]."""
    return logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()


def keep(network: nn.Module, path: Path) -> None:
    """Write the network's weights, whole or not at all: Ctrl-C in the middle leaves the file that was there."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(save({name: value.contiguous() for name, value in network.state_dict().items()}))
    partial.replace(path)


def save_state(learner: Learner, best: Epoch, path: Path) -> None:
    """Write all that going on takes, whole or not at all."""
    parts = {name: getattr(learner, name).state_dict() for name in STATEFUL}
    partial = path.with_suffix(".partial")
    torch.save({**parts, "epochs": learner.epochs, "best": asdict(best), "random": torch.get_rng_state()}, partial)
    partial.replace(path)


def restore(learner: Learner, path: Path) -> Epoch | None:
    """Bring `learner`, and torch's global generator, to where `save_state` left them; the best epoch so far, if any."""
    if not path.exists():
        return None
    state = torch.load(path, weights_only=True)
    for name in STATEFUL:
        getattr(learner, name).load_state_dict(state[name])
    learner.epochs = state["epochs"]
    torch.set_rng_state(state["random"])
    return Epoch(**state["best"])


def append(row: Epoch, path: Path) -> None:
    """Add a row to the curve; the first brings the header."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [item.name for item in fields(Epoch)])
        if new:
            writer.writeheader()
        writer.writerow(asdict(row))
