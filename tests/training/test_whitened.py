import pytest
import torch
from torch import nn

from training.config import Recipe
from training.data.table import data_set
from training.networks.table import build
from training.networks.whitened import BridgedStage, Halving, Stage, Whitening

TASK = data_set("cifar10").task


def test_whitening_makes_neighbouring_pixels_uncorrelated_of_spread_1() -> None:
    planes = torch.nn.functional.avg_pool2d(torch.randn(50, 3, 33, 33), 2, 1)  # neighbours are alike
    whitening = Whitening(3)
    whitening.fit(planes)
    values = whitening(planes).movedim(1, -1).flatten(0, 2) - whitening.bias
    half = values[:, :12]
    assert torch.allclose(half.T.cov(), torch.eye(12), atol=0.05)
    assert torch.allclose(values[:, 12:], -half, atol=1e-5)
    assert not whitening.weight.requires_grad


@pytest.mark.parametrize("stage", [Stage, BridgedStage])
def test_convolutions_begin_by_passing_channels_on(stage: type[nn.Module]) -> None:
    made, planes = stage(4, 8), torch.randn(2, 4, 6, 6)
    assert torch.allclose(made.get_submodule("conv1")(planes)[:, :4], planes, atol=1e-6)
    wide = torch.randn(2, 8, 6, 6)
    assert torch.allclose(made.get_submodule("conv2")(wide), wide, atol=1e-6)


def test_the_bridge_adds_what_the_first_convolution_gives() -> None:
    made, planes = BridgedStage(4, 8).eval(), torch.randn(2, 4, 6, 6)
    torch.nn.init.zeros_(made.norm3.weight)
    first = made.gelu1(made.norm1(made.pool(made.conv1(planes))))
    assert torch.equal(made(planes), torch.nn.functional.gelu(first))


def test_it_makes_no_difference_whether_pooled_or_normalised_first() -> None:
    made, planes = Halving(3, 4), torch.randn(8, 3, 6, 6)
    made.norm1.bias.data.normal_()
    halved = made.halve(planes)
    assert torch.equal(halved, made.norm1(made.pool(made.conv1(planes))))
    made.eval()
    assert torch.equal(made.halve(planes), made.norm1(made.pool(made.conv1(planes))))
    assert not torch.equal(made.halve(planes), halved)  # which were normalised by their own mean and deviation


@pytest.mark.parametrize(
    ("network", "stage", "activated"), [("whitened", Stage, nn.ReLU), ("whitened-deep", BridgedStage, nn.GELU)]
)
def test_both_forms_are_networks_by_name(network: str, stage: type[nn.Module], activated: type[nn.Module]) -> None:
    made = build(Recipe(network=network, width=4), TASK)
    assert type(made.get_submodule("stage3")) is stage
    assert {type(module) for module in made.modules()} & {nn.ReLU, nn.GELU} == {activated}
