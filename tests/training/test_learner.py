from dataclasses import replace

import pytest
import torch
from torch import nn

from training.config import Recipe
from training.data.examples import Examples
from training.data.table import data_set
from training.distributed import Group
from training.learner import first_kernels, groups, one_cycle, prepare
from training.networks.blocks import scaled_planes
from training.networks.table import build
from training.networks.whitened import Whitened, Whitening

CIFAR = data_set("cifar10").task


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [one_cycle(step / 100, 0.25) for step in range(101)]
    assert max(rates) == rates[25] == 1
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert 0 < rates[0] < 0.1
    assert rates[100] == pytest.approx(0)


@pytest.mark.parametrize("warmup", [0.0, 0.001, 1.0])
def test_a_schedule_without_rise_or_fall_stays_within_the_peak(warmup: float) -> None:
    assert all(0 <= one_cycle(step / 10_000, warmup) <= 1 for step in range(10_001))


def test_the_first_convolution_is_found_in_any_network_that_has_one() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Conv1d(1, 4, 5)), nn.Conv1d(4, 2, 3))
    [kernels] = first_kernels(network)
    assert kernels.shape == (4, 1, 5)
    assert first_kernels(nn.Linear(2, 2)) == []


def test_a_whitened_network_begins_with_the_whitening_of_its_pictures() -> None:
    pictures = torch.randint(0, 256, (60, 32, 32, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    training = Examples(pictures, torch.zeros(60, dtype=torch.int64))
    learner = prepare(Recipe(data="cifar10", network="whitened", width=4), CIFAR, training, 1, Group(), {})
    alone = Whitening(3)
    alone.fit(scaled_planes(CIFAR)(pictures))
    assert torch.allclose(learner.network.get_parameter("stem.whitening.weight"), alone.weight, atol=1e-3)


def test_biases_have_a_rate_of_their_own_and_the_same_pull_and_what_is_frozen_has_neither() -> None:
    recipe = Recipe(network="whitened", width=4, learning_rate=0.3, weight_decay=0.02, bias_rate=64)
    network = build(recipe, CIFAR)
    names = {id(weight): name for name, weight in network.named_parameters()}
    others, biases = torch.optim.SGD(groups(network, recipe)).param_groups
    assert [others["lr"], biases["lr"]] == pytest.approx([0.3, 64 * 0.3])
    assert [part["lr"] * part["weight_decay"] for part in (others, biases)] == pytest.approx([0.3 * 0.02] * 2)
    found = [sorted(names[id(weight)] for weight in part["params"]) for part in (others, biases)]
    stages = [f"stage{number}" for number in (1, 2, 3)]
    assert found[0] == sorted(["head.weight", *(f"{stage}.conv{at}.weight" for stage in stages for at in (1, 2))])
    assert found[1] == sorted(["stem.whitening.bias", *(f"{stage}.norm{at}.bias" for stage in stages for at in (1, 2))])


def test_the_larger_the_pictures_the_fewer_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(Whitened, "fit", lambda _, pixels: seen.append(len(pixels)))
    monkeypatch.setattr("training.learner.LOOKED_AT", 10 * 32 * 32)
    for edge in (32, 64, 256):
        task = replace(CIFAR, input=CIFAR.input.model_copy(update={"size": (edge, edge)}))
        training = Examples(torch.zeros(60, edge, edge, 3, dtype=torch.uint8), torch.zeros(60, dtype=torch.int64))
        prepare(Recipe(network="whitened", width=2), task, training, 1, Group(), {})
    assert seen == [10, 2, 1]
