from dataclasses import replace

import pytest
import torch

from service.errors import InvalidRequest, UnknownName
from tests.training.conftest import FASHION
from training.config import RECIPES, Recipe
from training.data.table import SIGNAL
from training.networks.table import build, parameters


def test_the_published_network_has_at_most_300_000_parameters() -> None:
    assert 0 < parameters(build(RECIPES["fashion-mnist"], FASHION.task)) <= 300_000


def test_pixels_become_one_logit_a_label() -> None:
    logits = build(Recipe(width=2), FASHION.task)(torch.zeros(3, 28, 28, 1, dtype=torch.uint8))
    assert (logits.shape, logits.dtype) == ((3, 10), torch.float32)


def test_scaling_gives_mean_0_and_spread_1_by_the_data_sets_figures() -> None:
    network = build(Recipe(width=2), FASHION.task)
    pixels = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    scaled = network.get_submodule("input")(pixels).flatten().tolist()
    assert scaled == pytest.approx([(0 - 0.2860) / 0.3530, (1 - 0.2860) / 0.3530], rel=1e-5)


def test_module_names_read_well() -> None:
    names = dict(build(Recipe(width=2), FASHION.task).named_modules())
    assert {"stem.conv", "stem.norm", "stem.relu", "stem.pool", "stage1.conv1", "stage2.relu2", "head"} <= set(names)


def test_activations_leave_their_input_as_hooks_saw_it() -> None:
    assert not any(getattr(module, "inplace", False) for module in build(Recipe(width=2), FASHION.task).modules())


def test_an_unknown_network_names_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="plain"):
        build(Recipe(network="plane"), FASHION.task)


@pytest.mark.parametrize("network", ["residual", "whitened", "whitened-deep", "torchvision:resnet18"])
def test_a_network_for_pictures_refuses_signals(network: str) -> None:
    with pytest.raises(InvalidRequest, match=f"network {network} takes pictures, and the data holds signals"):
        build(Recipe(network=network), replace(FASHION.task, input=SIGNAL))


def test_inputs_too_small_for_the_poolings_are_refused() -> None:
    small = FASHION.task.input.model_copy(update={"size": (28, 7)})
    with pytest.raises(InvalidRequest, match="halves extents three times, and 28 x 7 leave nothing"):
        build(Recipe(), replace(FASHION.task, input=small))
