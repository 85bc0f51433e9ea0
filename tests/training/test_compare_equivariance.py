"""What is exact about a convolution: what its cells see, and that its maps go along with the picture."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from service.errors import InvalidRequest
from tests.training.conftest import FASHION, TINY, Make, settled
from training.compare.contest import matched
from training.compare.equivariance import (
    changes,
    comparable,
    compared,
    exact,
    layers,
    obstacle,
    sheet_of,
    widened,
)
from training.compare.figures import Layer
from training.compare.hardship import shifted
from training.compare.reach import EDGE, UNEVEN, WHOLE, Reach, reach, reaches_of
from training.networks.table import build

TASK = FASHION.task


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    return settled(build(TINY, TASK))


@pytest.fixture(scope="module")
def sheet() -> Tensor:
    random = torch.Generator().manual_seed(1)
    return sheet_of(torch.randint(0, 256, (5, *TASK.input.shape), generator=random, dtype=torch.uint8))


def test_maps_go_along_with_the_picture_at_multiples_of_the_step_and_only_there(
    network: nn.Module, sheet: Tensor
) -> None:
    seen = comparable(TINY, TASK, sheet)
    wide = widened(network, TINY, TASK, sheet)
    assert reaches_of(wide, sheet) == seen  # of the trained network as of the untrained
    found = {layer.name: layer for layer in layers(wide, sheet, seen)}
    fields = {
        "stem.conv": (1, 3),
        "stem.pool": (2, 4),
        "stage1.conv1": (2, 8),
        "stage1.conv2": (2, 12),
        "stage1.pool": (4, 14),
        "stage2.conv1": (4, 22),
        "stage2.conv2": (4, 30),
        "stage2.pool": (8, 34),
    }
    assert {name: (found[name].step, found[name].field) for name in fields} == fields
    assert [found[name].border for name in ("stem.conv", "stem.pool", "stage1.conv1", "stage2.pool")] == [1, 2, 4, 20]
    for layer in found.values():
        assert exact(layer), layer
        for each in layer.compared:
            assert each.cells == each.pixels / layer.step
            assert (each.largest <= 1e-12) == (each.pixels % layer.step == 0)
            assert each.cells.is_integer() or each.mean > 0.001


class Uneven(nn.Module):
    """Local as a convolution is, with weights that differ from place to place."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.local = Scale(size)

    def forward(self, pixels: Tensor) -> Tensor:
        made: Tensor = self.local(pixels.movedim(-1, 1))
        return made


class Scale(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.rand(size, size, generator=torch.Generator().manual_seed(1)).double())

    def forward(self, planes: Tensor) -> Tensor:
        return planes * self.weights


class Reshaped(nn.Module):
    """A dense layer whose neurons are laid out as a map."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(size * size, 16).double()
        self.map = nn.Unflatten(1, (1, 4, 4))

    def forward(self, pixels: Tensor) -> Tensor:
        made: Tensor = self.map(self.dense(pixels.flatten(1)))
        return made


def judged_alone(network: nn.Module, sheet: Tensor) -> tuple[Layer, str]:
    """The only layer of a network, and why there is nothing to compare in it."""
    seen = reaches_of(network, sheet)
    [layer] = layers(network, sheet, seen)
    return layer, obstacle([layer], seen)


@pytest.mark.parametrize(("make", "reason"), [(Uneven, ""), (Reshaped, f"its layer map {WHOLE}")])
def test_what_is_no_convolution_does_not_pass_for_one(
    make: Callable[[int], nn.Module], reason: str, sheet: Tensor
) -> None:
    layer, said = judged_alone(make(sheet.shape[1]), sheet)
    assert said == reason
    assert not exact(layer)
    assert min(each.largest for each in layer.compared) > 0.1


class Kernel(nn.Module):
    """A single convolution with step and reach along the height as wanted; as wide as it is high it takes minutes."""

    def __init__(self, size: int, step: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, (size, 1), step, padding=(size // 2, 0)).double()

    def forward(self, pixels: Tensor) -> Tensor:
        made: Tensor = self.conv(pixels.movedim(-1, 1))
        return made


@pytest.mark.parametrize(
    ("size", "step", "reason"),
    [
        (3, 8, ""),
        (3, 16, "its layer conv has a step of 16 pixels, and shifts go up to 8"),
        (107, 1, "its layer conv sees 107 x 107 pixels, and what a shift leaves is less"),
        (111, 1, f"its layer conv {EDGE}"),
        (223, 1, f"its layer conv {WHOLE}"),
    ],
)
def test_it_is_known_of_any_weights_whether_a_shift_leaves_something_to_compare(
    size: int, step: int, reason: str, sheet: Tensor
) -> None:
    layer, said = judged_alone(Kernel(size, step), sheet)
    assert said == reason
    assert exact(layer) == (not reason)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18"])
def test_a_network_that_sees_the_whole_sheet_is_refused_untrained(name: str, sheet: Tensor) -> None:
    with pytest.raises(InvalidRequest, match=rf"{name} cannot .* sheet of 112 x 112 pixels: its layer .* {WHOLE}$"):
        comparable(replace(TINY, network=f"torchvision:{name}"), TASK, sheet)
    with pytest.raises(InvalidRequest, match="it has no layers that yield maps"):
        comparable(replace(TINY, network="dense"), TASK, sheet)


def test_a_reach_is_read_off_what_the_cells_see() -> None:
    pixel, cell = torch.arange(40)[:, None], torch.arange(20)[None]
    assert reach((pixel >= 2 * cell - 1) & (pixel <= 2 * cell + 3)) == Reach(step=2, before=1, after=3)
    assert reach(pixel == cell) == Reach(step=1, before=0, after=0)
    assert reach(torch.ones(40, 20, dtype=torch.bool)) == WHOLE
    assert reach((pixel >= 2 * cell - 30) & (pixel <= 2 * cell + 3)) == EDGE
    assert reach(torch.zeros(40, 20, dtype=torch.bool)) == UNEVEN
    assert reach(((pixel > 5) & (pixel < 30)).expand(40, 20)) == UNEVEN
    assert reach((pixel == cell)[:, :1]) == UNEVEN
    assert list(Reach(step=2, before=1, after=3).clean(0, 20, 10)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert list(Reach(step=2, before=1, after=3).clean(2, 19, 10)) == [2, 3, 4, 5, 6, 7]
    assert list(Reach(step=2, before=0, after=0).clean(0, 20, 4)) == [0, 1, 2, 3]


def test_the_wide_network_has_the_trained_weights_and_a_sheet_has_the_pictures(
    network: nn.Module, sheet: Tensor, examples: Make
) -> None:
    wide = widened(network, TINY, TASK, sheet)
    own = network.state_dict()
    for name, values in wide.state_dict().items():
        assert torch.equal(values, own[name].double()) or name.startswith("head.weight"), name
    assert sheet.shape == (1, 112, 112, 1)
    pictures = examples(16, 1).inputs
    assert torch.equal(sheet_of(pictures)[0, 28:56, 84:], pictures[7])
    assert torch.equal(sheet[0, 28:56, 28:56], sheet[0, :28, :28])  # of five pictures the sixth is the first again


def test_a_dense_layer_changes_when_the_picture_is_shifted(examples: Make) -> None:
    torch.manual_seed(1)
    dense = build(matched(TINY, TASK), TASK)
    pictures = examples(20, 1).inputs
    found = changes(dense, pictures)
    assert [each.pixels for each in found] == [1, 2, 4, 8]
    assert all(each.mean > 0.05 for each in found)
    hidden = nn.Sequential(dense.get_submodule("input"), nn.Flatten(), dense.get_submodule("hidden1.dense"))
    still, moved = (hidden(each).detach() for each in (pictures, shifted(pictures, 2, 2)))
    assert found[1].mean == pytest.approx(float((moved - still).abs().mean() / still.abs().mean()), rel=1e-5)
    assert {each.mean for each in changes(dense, torch.zeros_like(pictures))} == {0}


def test_between_two_whole_shifts_the_nearer_counts_and_proves_nothing() -> None:
    still = torch.rand(1, 2, 10, 10, generator=torch.Generator().manual_seed(1)).double()
    for pixels, cells, moved in ((1, 0.25, still), (3, 0.75, still.roll((1, 1), (2, 3)))):
        found = compared(still, moved, Reach(step=4, before=0, after=0), pixels, (40, 40))
        assert (found.cells, found.largest, found.mean) == (cells, 0, 0)
        assert not exact(Layer(name="a", step=4, field=1, border=0, compared=(found,)))
