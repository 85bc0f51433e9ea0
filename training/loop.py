"""Training, top to bottom: one epoch, many epochs, the best checkpoint kept on disk all the while."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeAlias

import torch
from torch import Tensor, nn
from tqdm import tqdm

from service.errors import ConvscopeError
from training.calibration import loss_of
from training.checkpoint import STATE, restore, save_state, store
from training.config import Recipe
from training.data.augmentation import augmentation, mirrored, whose_turn
from training.data.examples import Examples, Task
from training.distributed import Group, Stopped, stopping
from training.learner import Epoch, Learner, prepare
from training.random import seed_all, seeded

JUDGED_AT_ONCE = 250

Progress: TypeAlias = "tqdm[NoReturn]"


class NothingKept(ConvscopeError):
    """Training ended before there was a checkpoint."""


class Diverged(ConvscopeError):
    """The weights have left all bounds: nothing can be learnt any more."""


class Batch(NamedTuple):
    """What one process learns from in a step: its share of the batch."""

    inputs: Tensor
    targets: Tensor
    weight: float  # of its mean in the mean of all processes: 1 where the shares are even, 0 where it has none


@dataclass(frozen=True)
class Outcome:
    """What training leaves: the epoch whose weights lie in the checkpoint, and whether somebody cut it short."""

    best: Epoch
    interrupted: bool
    rows: tuple[Epoch, ...] = ()
    kernels: tuple[Tensor, ...] = ()  # of the first convolution, after each epoch


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

    def over_all(self, group: Group) -> "Tally":
        """What all processes counted."""
        count, summed, hits = group.summed((self.count, self.summed, self.hits))
        return Tally(int(count), summed, int(hits))

    @property
    def loss(self) -> float:
        """Mean over all examples counted."""
        return self.summed / max(self.count, 1)

    @property
    def accuracy(self) -> float:
        """Share of all examples counted."""
        return self.hits / max(self.count, 1)


def train(
    recipe: Recipe,
    task: Task,
    training: Examples,
    validation: Examples,
    folder: Path,
    group: Group | None = None,
    begin: Mapping[str, Tensor] | None = None,
) -> Outcome:
    """Train the recipe's network; leave its best checkpoint, by validation accuracy, and the curve in `folder`.

    A folder in which a run was cut off is gone on with, from the end of its last whole epoch. Ctrl-C keeps the best so
    far; before the first epoch is over there is none: raises NothingKept. `begin` holds weights to start from, by name.
    Raises Diverged, and RunMissing where what was cut off cannot be gone on with.
    """
    group = group or Group()
    steps = -(-len(training.targets) // recipe.batch)
    learner = prepare(recipe, task, training, steps, group, begin or {})
    restore(learner, folder)
    if group.leads and not learner.rows:
        save_state(learner, folder / STATE)
    interrupted = False
    try:
        with stopping(group), progress(learner, steps) as bar:
            for number in range(len(learner.rows) + 1, recipe.epochs + 1):
                bar.set_description(f"epoch {number}/{recipe.epochs}")
                seed_all(recipe.seed, number, group.rank)
                learnt = learn(learner, shuffled(training, recipe, number, group), bar)
                judged = group.led(
                    lambda: judge(learner.averaged, validation, recipe.logit_scale, recipe.label_smoothing)
                )
                learner.note(finite(Epoch(number, *learnt, *judged)))
                bar.write(f"epoch {number}: validation accuracy {judged[1]:.2%}")
                if group.leads:
                    store(learner, folder)
                group.heed()
    except Stopped:
        interrupted = True
    if learner.best is None:
        raise NothingKept("interrupted before the first epoch was over: there is nothing to keep")
    return Outcome(learner.best, interrupted, tuple(learner.rows), tuple(learner.kernels))


def progress(learner: Learner, steps: int) -> Progress:
    """A bar of all steps, `steps` an epoch, that begins where the learner stands."""
    total, done = learner.recipe.epochs * steps, len(learner.rows) * steps
    return tqdm(total=total, initial=done, unit="step", disable=not learner.group.leads)


def shuffled(examples: Examples, recipe: Recipe, epoch: int, group: Group) -> Iterator[Batch]:
    """All examples once, in random order, augmented, in batches; of each this process's share.

    Order and augmentation depend on the seed and the epoch alone, not on how many processes there are.
    """
    count = len(examples.targets)
    augment = augmentation(recipe, examples.inputs.shape[1:], epoch)
    turns = whose_turn(count, recipe.flip, epoch, recipe.seed)
    order = torch.randperm(count, generator=seeded(torch.Generator(), recipe.seed, epoch))
    for start in range(0, count, recipe.batch):
        whole = torch.arange(start, min(start + recipe.batch, count))
        share = whole[group.share(len(whole))]
        places = share if len(share) else whole  # a process without a share keeps step with the others, at no weight
        chosen = order[places]
        inputs = augment(mirrored(examples.inputs[chosen], turns[chosen]), int(places[0]))
        yield Batch(inputs, examples.targets[chosen], len(share) * group.size / len(whole))


def learn(learner: Learner, batches: Iterable[Batch], bar: Progress) -> tuple[float, float]:
    """One epoch: a step of the optimizer for each batch. Returns mean loss and accuracy while learning."""
    recipe, device = learner.recipe, learner.group.device
    learner.network.train()
    tally = Tally()
    for inputs, targets, weight in batches:
        wanted = targets.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = learner.parallel(inputs.to(device)).float() * recipe.logit_scale
        loss = loss_of(logits, wanted, recipe.label_smoothing)
        learner.optimizer.zero_grad()
        (weight * loss).backward()  # type: ignore[no-untyped-call]
        learner.optimizer.step()
        learner.schedule.step()
        learner.averaged.update_parameters(learner.network)
        if weight:
            tally.add(loss, logits, wanted)
        bar.update()
        bar.set_postfix(loss=f"{tally.loss:.3f}", accuracy=f"{tally.accuracy:.2%}", refresh=False)
        learner.group.heed()
    tally = tally.over_all(learner.group)
    return tally.loss, tally.accuracy


def finite(row: Epoch) -> Epoch:
    """`row`, if it is one of numbers. Raises Diverged, in every process alike: its losses are those of all."""
    if not math.isfinite(row.training_loss + row.validation_loss):
        raise Diverged(f"the loss is no longer a number in epoch {row.epoch}: try a lower --learning-rate")
    return row


def judge(network: nn.Module, examples: Examples, scale: float = 1, smoothing: float = 0) -> tuple[float, float]:
    """Mean loss, of logits times `scale` and labels with `smoothing`, and accuracy on `examples` as they are."""
    logits, tally = logits_of(network, examples), Tally()
    tally.add(loss_of(logits * scale, examples.targets, smoothing), logits, examples.targets)
    return tally.loss, tally.accuracy


@torch.inference_mode()
def logits_of(network: nn.Module, examples: Examples) -> Tensor:
    """Logits, float32 [count, outputs], of `examples` as they are."""
    network.eval()
    device = next(network.parameters()).device
    return torch.cat([network(inputs.to(device)).cpu() for inputs in torch.split(examples.inputs, JUDGED_AT_ONCE)])


def classes_of(logits: Tensor) -> Tensor:
    """The class that each row of logits [N, outputs] names, int64 [N]."""
    return logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
