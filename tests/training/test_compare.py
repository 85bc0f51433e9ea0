"""The comparison: its networks, its hardships and what is exact, each held to something reckoned another way."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from service.errors import InvalidRequest
from tests.training.conftest import FASHION, TINY, settled
from training.compare import trainings
from training.compare.contest import contender, contest, matched, varied
from training.compare.cost import cost, sized, sizes
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
from training.compare.ground import Ground
from training.compare.hardship import (
    DIRECTIONS,
    DISTANCES,
    DRAWS,
    SIDES,
    black_edge,
    by_patch,
    by_shift,
    covered,
    shifted,
)
from training.compare.reach import EDGE, UNEVEN, WHOLE, Reach, reach, reaches_of
from training.config import RECIPES, Recipe
from training.data.examples import Examples
from training.data.table import data_set
from training.networks.table import build, parameters

MakeExamples = Callable[[int, int], Examples]
TASK = FASHION.task


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    return settled(build(TINY, TASK))


@pytest.fixture(scope="module")
def sheet() -> Tensor:
    random = torch.Generator().manual_seed(1)
    return sheet_of(torch.randint(0, 256, (5, *TASK.input.shape), generator=random, dtype=torch.uint8))


def test_the_dense_network_has_the_width_whose_parameters_are_nearest() -> None:
    for recipe in (TINY, replace(TINY, width=7), RECIPES["fashion-mnist"]):
        dense = matched(recipe, TASK)
        wanted = parameters(build(recipe, TASK))

        def off(width: int, dense: Recipe = dense, wanted: int = wanted) -> int:
            return abs(parameters(build(replace(dense, width=width), TASK)) - wanted)

        assert dense == replace(recipe, network="dense", width=dense.width)
        assert off(dense.width) == min(off(width) for width in range(max(2, dense.width - 3), dense.width + 4))


def test_both_learn_by_the_same_recipe_and_the_untaught_see_neither_shifts_nor_patches() -> None:
    recipes = contest(TINY, TASK)
    assert recipes["convolutional"] == TINY
    assert replace(recipes["dense"], network=TINY.network, width=TINY.width) == TINY
    assert varied(TINY, "taught") == TINY
    assert varied(TINY, "untaught") == replace(TINY, shift=0, erase=0)


@pytest.mark.parametrize(("name", "normalises"), [("dense", False), ("plain", True), ("whitened", True)])
def test_it_is_known_who_normalises(name: str, normalises: bool) -> None:
    assert contender(replace(TINY, network=name), TASK).normalises == normalises


def test_a_training_counts_only_for_the_conditions_under_which_it_was_done(
    examples: MakeExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, test = examples(20, 1), examples(10, 2)
    ground = Ground("fashion-mnist", TASK, data, test, judged_on=5)
    now = trainings.conditions(TINY, ground)
    assert now == trainings.conditions(TINY, Ground("fashion-mnist", TASK, examples(20, 1), examples(10, 2), 5))
    others = (
        replace(ground, judged_on=4),
        replace(ground, data=data._replace(targets=data.targets.flip(0))),
        replace(ground, test=test._replace(inputs=test.inputs.flip(0))),
    )
    assert all(trainings.conditions(TINY, other) != now for other in others)
    assert trainings.conditions(replace(TINY, seed=9), ground) != now
    monkeypatch.setattr(trainings, "installed", lambda: "torch 1.0")
    other_versions = trainings.conditions(TINY, ground)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert len({each.model_dump_json() for each in (now, other_versions, trainings.conditions(TINY, ground))}) == 3


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="modelnet10 holds none"):
        contest(RECIPES["modelnet10"], data_set("modelnet10").task)
    with pytest.raises(InvalidRequest, match="--network must be a convolutional one"):
        contest(replace(TINY, network="dense"), TASK)
    with pytest.raises(InvalidRequest, match="--shift and --erase are both 0"):
        contest(replace(TINY, shift=0, erase=0), TASK)


@pytest.mark.parametrize("name", ["dense", "plain", "residual"])
def test_a_network_that_holds_nothing_costs_what_the_real_one_does(name: str) -> None:
    recipe = replace(TINY, network=name, width=4)
    assert cost(recipe, TASK).parameters == parameters(build(recipe, TASK))


def test_multiply_adds_are_those_that_a_pencil_gives() -> None:
    dense = cost(replace(TINY, network="dense", width=10), TASK)
    assert dense.multiply_adds == 784 * 10 + 10 * 5 + 5 * 10
    assert dense.dense == dense.parameters
    plain = cost(TINY, TASK)
    stem, stage1 = 28 * 28 * 9 * 1 * 2, 14 * 14 * 9 * (2 * 4 + 4 * 4)
    assert plain.multiply_adds == stem + stage1 + 7 * 7 * 9 * (4 * 8 + 8 * 8) + 3 * 3 * 8 * 10
    assert plain.dense == 3 * 3 * 8 * 10 + 10


def test_the_photo_takes_its_billions_and_the_convolution_stays_as_it_is() -> None:
    own, *colour = sizes(matched(TINY, TASK), TINY, TASK)
    assert (own.height, own.width, own.channels) == (28, 28, 1)
    assert own.hundred == 784 * 100
    photo = colour[-1]
    assert (photo.height, photo.width, photo.channels, photo.hundred) == (3000, 4000, 3, 3_600_000_000)
    alone = [each.convolutional.parameters - each.convolutional.dense for each in colour]
    assert set(alone) == {own.convolutional.parameters - own.convolutional.dense + 2 * 9 * TINY.width}


def test_pictures_are_shifted_by_whole_pixels_and_black_comes_in() -> None:
    picture = torch.arange(1, 13, dtype=torch.uint8).reshape(1, 3, 4, 1)
    assert shifted(picture, 1, 2)[0, ..., 0].tolist() == [[0, 0, 0, 0], [0, 0, 1, 2], [0, 0, 5, 6]]
    assert shifted(picture, -1, -1)[0, ..., 0].tolist() == [[6, 7, 8, 0], [10, 11, 12, 0], [0, 0, 0, 0]]
    assert torch.equal(shifted(picture, 0, 0), picture)
    assert len(set(DIRECTIONS)) == 8
    assert (0, 0) not in DIRECTIONS


def test_a_patch_is_a_black_square_inside_the_picture_at_places_of_its_own() -> None:
    bright = torch.full((200, 8, 9, 2), 255, dtype=torch.uint8)
    patched = covered(bright, 3, seed=1)
    black = (patched == 0).all(dim=-1)
    assert black.sum(dim=(1, 2)).tolist() == [9] * 200
    corners = set()
    for each in black.unbind():
        rows, columns = each.any(1).nonzero(), each.any(0).nonzero()
        assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == 2
        corners.add((int(rows.min()), int(columns.min())))
    assert corners == {(row, column) for row in range(6) for column in range(7)}
    assert torch.equal(patched, covered(bright, 3, seed=1))
    assert not torch.equal(patched, covered(bright, 3, seed=2))
    assert torch.equal(covered(bright, 0, seed=1), bright)


def test_the_black_edge_is_counted_around_the_picture() -> None:
    pictures = torch.ones(2, 4, 5, 1, dtype=torch.uint8)
    pictures[:, 1:-1, 1:-1] = 0
    assert black_edge(pictures) == 0
    pictures[0, 0, :] = 0
    assert black_edge(pictures) == pytest.approx(5 / 28)


class Watching(nn.Module):
    """Sees a bright pixel if it is where it was."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        there = (inputs[:, 10, 10, 0] > 0).float()
        return torch.stack([1 - there, there], dim=1)


def test_accuracy_is_taken_at_each_distance_in_each_direction_and_under_each_patch() -> None:
    inputs = torch.zeros(50, 28, 28, 1, dtype=torch.uint8)
    inputs[:, :11, 10] = 9  # a line from the top down to where it is looked for: moved down it is still there
    examples = Examples(inputs, torch.ones(50, dtype=torch.long))
    far = by_shift(Watching(), examples)
    assert [len(each) for each in far] == [8] * len(DISTANCES)
    assert list(far[0]) == [1] * 8
    for distance in DISTANCES[1:]:
        assert dict(zip(DIRECTIONS, far[distance], strict=True)) == {way: float(way == (1, 0)) for way in DIRECTIONS}
    patched = by_patch(Watching(), examples)
    assert [len(each) for each in patched] == [1, *[DRAWS] * (len(SIDES) - 1)]
    assert list(patched[0]) == [1]
    assert max(patched[-1]) < 0.5  # a square of 20 in a picture of 28 nearly always covers that pixel
    assert by_patch(Watching(), examples) == patched


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
    network: nn.Module, sheet: Tensor, examples: MakeExamples
) -> None:
    wide = widened(network, TINY, TASK, sheet)
    own = network.state_dict()
    for name, values in wide.state_dict().items():
        assert torch.equal(values, own[name].double()) or name.startswith("head.weight"), name
    assert sheet.shape == (1, 112, 112, 1)
    pictures = examples(16, 1).inputs
    assert torch.equal(sheet_of(pictures)[0, 28:56, 84:], pictures[7])
    assert torch.equal(sheet[0, 28:56, 28:56], sheet[0, :28, :28])  # of five pictures the sixth is the first again


def test_a_dense_layer_changes_when_the_picture_is_shifted(examples: MakeExamples) -> None:
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


def test_a_task_of_another_size_is_the_same_otherwise() -> None:
    colour = sized(TASK, 40, 50, 3)
    assert colour.input.shape == (40, 50, 3)
    assert colour.input.colour == "RGB"
    assert colour.mean == TASK.mean * 3
    assert sized(colour, 28, 28, 1) == TASK


def test_between_two_whole_shifts_the_nearer_counts_and_proves_nothing() -> None:
    still = torch.rand(1, 2, 10, 10, generator=torch.Generator().manual_seed(1)).double()
    for pixels, cells, moved in ((1, 0.25, still), (3, 0.75, still.roll((1, 1), (2, 3)))):
        found = compared(still, moved, Reach(step=4, before=0, after=0), pixels, (40, 40))
        assert (found.cells, found.largest, found.mean) == (cells, 0, 0)
        assert not exact(Layer(name="a", step=4, field=1, border=0, compared=(found,)))
