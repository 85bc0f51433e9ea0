"""The learner: a network with all that changes it from step to step, and what has become of it, epoch by epoch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.optimizer import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.config import Recipe
from training.data.examples import Examples, Task
from training.distributed import Group
from training.networks.table import build
from training.networks.whitened import Whitened

LOOKED_AT = 5000 * 32 * 32  # pixels of the pictures from which the first layer is computed


@dataclass(frozen=True)
class Epoch:
    """One row of the curve. Losses in nats, as the recipe has them; the training figures are of augmented pictures."""

    epoch: int
    training_loss: float
    training_accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass
class Learner:
    """What changes from step to step. `averaged` holds the running average of the weights: it is what is kept."""

    network: nn.Module
    parallel: nn.Module  # the same network, its gradients those of all processes
    averaged: AveragedModel
    optimizer: Optimizer
    schedule: LRScheduler
    recipe: Recipe
    group: Group
    rows: list[Epoch] = field(default_factory=list)
    kernels: list[Tensor] = field(default_factory=list)  # of the first convolution, after each epoch

    @property
    def best(self) -> Epoch | None:
        """The first of the epochs with the highest validation accuracy: that whose weights are kept."""
        return max(self.rows, key=lambda row: row.validation_accuracy, default=None)

    def note(self, row: Epoch) -> None:
        """Add what an epoch brought."""
        self.rows.append(row)
        self.kernels.extend(first_kernels(self.averaged))


def prepare(
    recipe: Recipe, task: Task, training: Examples, steps: int, group: Group, begin: Mapping[str, Tensor]
) -> Learner:
    """Make the network, with the weights in `begin` where it names some, and all that changes it.

    `steps` is how many there are in an epoch.
    """
    torch.manual_seed(recipe.seed)
    network: nn.Module = build(recipe, task)
    if isinstance(network, Whitened):
        network.fit(training.inputs[: max(1, LOOKED_AT // math.prod(task.input.size))])
    network.load_state_dict(begin, strict=False)
    network.to(group.device)
    if len(task.input.size) == 2:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.4 times as fast on a CPU
    optimizer = torch.optim.SGD(
        groups(network, recipe), recipe.learning_rate, recipe.momentum, nesterov=recipe.momentum > 0
    )
    average = get_ema_multi_avg_fn(recipe.averaging)  # type: ignore[no-untyped-call]
    return Learner(
        network=network,
        parallel=group.parallel(network),
        averaged=AveragedModel(network, multi_avg_fn=average, use_buffers=True),
        optimizer=optimizer,
        schedule=LambdaLR(optimizer, lambda step: one_cycle(step / (recipe.epochs * steps), recipe.warmup)),
        recipe=recipe,
        group=group,
    )


def groups(network: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """The parameters that learn, biases apart. Rate times decay, the pull a step, is the same for both."""
    learning = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
    biases = [weight for name, weight in learning if name.endswith("bias")]
    others = [weight for name, weight in learning if not name.endswith("bias")]
    rates = ((others, 1.0), (biases, recipe.bias_rate))
    return [
        {"params": part, "lr": rate * recipe.learning_rate, "weight_decay": recipe.weight_decay / rate}
        for part, rate in rates
    ]


def one_cycle(progress: float, warmup: float) -> float:
    """Share of the peak learning rate after `progress` (0 to 1): up in a line until `warmup`, down in a cosine to 0."""
    if progress < warmup:
        return min(max(progress, 0.01) / warmup, 1)
    return (1 + math.cos(math.pi * (progress - warmup) / max(1 - warmup, 1e-9))) / 2


def first_kernels(network: nn.Module) -> list[Tensor]:
    """The kernels, float32 [filters, channels, *extents], of the first convolution; nothing where there is none."""
    found = (module for module in network.modules() if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d))
    return [module.weight.detach().float().cpu().clone() for module in [*found][:1]]
