"""The derivation: its counts against counting one by one, its proofs against being lied to, its command."""

from argparse import ArgumentParser
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from service.errors import InvalidRequest
from training.__main__ import main
from training.derive import convolution as lessons
from training.derive.command import add_derive
from training.derive.convolution import SIZES, convolution, convolved_properly, moved, out_of, turned_round
from training.derive.derivation import by_offset, by_pixel, dense, derivation, tied, within
from training.derive.kernels import KERNELS, applied, kernels
from training.derive.layer import MOST_PROVED, PHOTO, SMALL, Layer
from training.derive.proof import UNPROVED, Numbers, Step, all_hold, apart, different
from training.derive.walk import fewer, size, walk

ODD = Layer(height=5, width=7, channels=2, hidden=31, kernel=3)
LAYERS = [SMALL, ODD, Layer(4, 4, 3, 1, 4), Layer(6, 3, 1, 8, 1), Layer(1, 5, 1, 4, 1), Layer(1, 1, 1, 1, 1)]


def offsets_one_by_one(layer: Layer, height: int, width: int) -> int:
    """How many weights are left if those of equal offset are one, and only offsets from 0 to the extents count."""
    seen = {
        (y - i, x - j)
        for i, j in product(range(layer.rows), range(layer.columns))
        for y, x in product(range(layer.height), range(layer.width))
        if 0 <= y - i < height and 0 <= x - j < width
    }
    return layer.maps * layer.channels * len(seen)


def test_the_small_example_has_the_numbers_that_texts_give() -> None:
    assert (SMALL.places, SMALL.maps, SMALL.neurons) == (4, 4, 16)
    assert [step.weights for step in derivation(SMALL)] == [144, 144, 64, 36, 16, 16]
    assert fewer(SMALL.local, SMALL.asked) == "88.89 %"


def test_the_photo_has_its_numbers() -> None:
    assert PHOTO.asked == 12_000_000 * 3 * 100 == 3_600_000_000
    assert (PHOTO.rows, PHOTO.columns, PHOTO.maps) == (2998, 3998, 1)
    assert [step.weights for step in derivation(PHOTO)][3:] == [36_000_000, 27, 27]
    assert PHOTO.dense == 36_000_000 * 2998 * 3998
    assert PHOTO.invariant == 3 * 5997 * 7997


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_every_count_is_what_counting_gives(layer: Layer) -> None:
    everywhere = torch.ones(layer.maps, layer.rows, layer.columns, layer.channels, layer.height, layer.width)
    offsets = Numbers(1).weights(layer.maps, layer.channels, *layer.reach)
    assert layer.dense == everywhere.numel()
    assert layer.invariant == different(tied(layer, offsets))
    assert layer.sets == offsets_one_by_one(layer, layer.height, layer.width)
    assert layer.local == offsets_one_by_one(layer, layer.kernel, layer.kernel)
    assert layer.maps == min(maps for maps in range(1, 40) if maps * layer.places >= layer.hidden)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_every_claim_holds_exactly_whatever_the_seed(layer: Layer) -> None:
    for seed in (0, 7):
        assert [step.difference for step in derivation(layer, seed)] == [0] * 6
        assert [step.difference for step in convolution(seed)] == [0] * len(convolution())
    assert [step.difference for step in kernels()] == [0] * 4


def test_sixteen_weights_do_what_conv2d_does() -> None:
    """The small example once more, with nothing of the derivation's own but the matrix."""
    offsets = Numbers(3).weights(4, 1, 4, 4)
    matrix = tied(SMALL, within(SMALL, offsets, 2, 2)).reshape(16, 9)
    kernel = offsets[:, :, 1:3, 1:3]
    picture = torch.randn(1, 3, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    assert different(matrix) == kernel.numel() == 16
    assert (matrix != 0).sum(1).tolist() == [4] * 16
    given = (matrix @ picture.flatten()).reshape(4, 2, 2)
    assert torch.allclose(given, functional.conv2d(picture, kernel), atol=1e-12, rtol=0)


def test_offsets_are_counted_from_the_neuron() -> None:
    weights = Numbers(0).weights(2, 3, 5, 2, 5, 7)
    offsets = by_offset(weights)
    for i, j, y, x in product(range(3), range(5), range(5), range(7)):
        assert torch.equal(offsets[:, i, j, :, y - i + 2, x - j + 4], weights[:, i, j, :, y, x])
    assert int(offsets.count_nonzero()) == weights.numel()
    assert torch.equal(by_pixel(offsets, 5, 7), weights)


def test_a_tied_layer_has_the_same_weight_wherever_the_offset_is_the_same() -> None:
    offsets = Numbers(0).weights(ODD.maps, ODD.channels, *ODD.reach)
    weights = tied(ODD, offsets)
    assert torch.equal(weights[:, 0, 0, :, 1:4, 2:6], weights[:, 1, 1, :, 2:5, 3:7])
    assert not torch.equal(weights[:, 0, 0], weights[:, 1, 1])


def test_the_dense_layer_is_a_sum_over_all_pixels() -> None:
    numbers = Numbers(0)
    weights, picture = numbers.weights(2, 2, 3, 2, 3, 4), numbers.picture(2, 3, 4)
    assert dense(weights, picture)[1, 0, 2] == sum(
        weights[1, 0, 2, c, y, x] * picture[c, y, x] for c, y, x in product(range(2), range(3), range(4))
    )


@pytest.mark.parametrize(
    "liar", ["linear", "conv1d", "conv2d", "conv_transpose2d", "max_pool1d", "max_pool2d", "avg_pool2d"]
)
def test_a_claim_fails_when_torch_says_something_else(liar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = getattr(functional, liar)

    def lie(*arguments: object, **named: object) -> Tensor:
        told: Tensor = honest(*arguments, **named)
        return torch.cat([told, told], -1) if liar.endswith("1d") else told + 1e-9

    monkeypatch.setattr(functional, liar, lie)
    assert not all_hold([*derivation(ODD), *convolution(), *kernels()])


def test_only_the_first_claim_is_about_the_dense_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = functional.conv2d
    monkeypatch.setattr(functional, "conv2d", lambda *given, **named: honest(*given, **named) + 1)
    assert [step.holds for step in derivation(ODD)] == [True, True, False, False, True, False]


@pytest.mark.parametrize("count", ["invariant", "sets", "local"])
def test_a_claim_fails_when_its_count_is_wrong(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(ODD, count)
    monkeypatch.setattr(Layer, count, property(lambda _: right + 1))
    assert not all_hold(derivation(ODD))


def test_only_equal_is_equal() -> None:
    one = torch.ones(2, 2)
    assert apart((one, one), (1, 3)) == 2
    assert apart((one, -one), (1, 1)) == 2
    assert apart((one, torch.ones(1, 2))) == float("inf")
    assert not Step("", None, float("nan")).holds
    assert not Step("", None, 1e-11).holds
    assert Step("", None, 1e-13).holds
    assert not Step("", None, apart((one * float("nan"), one), (1, 1))).holds
    assert not Step("", None, apart((1, 1), (one * float("nan"), one))).holds


def test_numbers_are_whole_different_and_not_zero() -> None:
    weights, picture = Numbers(0).weights(3, 50), Numbers(0).picture(3, 50)
    assert different(weights) == weights.abs().unique().numel() == 150  # type: ignore[no-untyped-call]
    assert (weights == weights.round()).all()
    assert (weights < 0).any()
    assert 1 <= picture.min() < picture.max() <= 255
    assert weights.dtype == picture.dtype == torch.double
    assert different(torch.tensor([0.0, 2.0, 2.0, -2.0])) == 2


def test_what_is_too_large_is_proved_on_a_small_one_of_the_same_kind() -> None:
    small = PHOTO.provable()
    assert (small.channels, small.kernel, small.maps) == (3, 3, 1)
    assert small.height != small.width
    assert small.places > 1
    assert ODD.provable() == ODD
    for large in (PHOTO, Layer(5000, 4000, 500, 10**8, 4000), Layer(1, 9_999_999, 1, 9, 1), Layer(2, 2, 10**9, 9, 2)):
        assert large.dense > MOST_PROVED
        assert large.provable().dense < 100_000
        assert all_hold(derivation(large))


def test_a_layer_at_the_limit_is_laid_out_itself() -> None:
    layer = Layer(32, 32, 1, 1024, 1)
    assert layer.dense == MOST_PROVED
    assert layer.provable() is layer
    assert Layer(32, 32, 2, 1024, 1).provable() != Layer(32, 32, 2, 1024, 1)


def test_convolution_proper_is_the_definition_with_a_minus() -> None:
    numbers = Numbers(0)
    picture, kernel = numbers.picture(2, 4, 5), numbers.weights(3, 2, 2, 3)
    given = convolved_properly(picture, kernel)
    assert given.shape == (3, 5, 7)
    for m, i, j in product(range(3), range(5), range(7)):
        assert given[m, i, j] == sum(
            kernel[m, c, a, b] * picture[c, i - a, j - b]
            for c, a, b in product(range(2), range(2), range(3))
            if 0 <= i - a < 4 and 0 <= j - b < 5
        )
    assert turned_round(torch.tensor([[1, 2], [3, 4]])).tolist() == [[4, 3], [2, 1]]


def test_the_equivariance_would_be_missed_if_it_were_not_there() -> None:
    numbers = Numbers(0)
    picture, kernel = numbers.picture(1, 6, 6), numbers.weights(1, 1, 3, 3)
    wide = numbers.weights(1, 6, 6, 1, 6, 6)
    assert moved(picture, kernel, wide) == 0
    assert moved(picture, kernel, torch.zeros_like(wide)) == float("inf")


def test_the_picture_is_moved_down_and_right() -> None:
    picture = torch.arange(1.0, 10).reshape(1, 3, 3)
    assert lessons.moved_by_one(picture).tolist() == [[[0, 0, 0], [0, 1, 2], [0, 4, 5]]]


def test_sizes_are_those_of_the_textbook() -> None:
    assert {name: out_of(*given) for name, given in SIZES.items()} == {
        "alone": 4,
        "padded": 6,
        "strided": 3,
        "pooled": 3,
    }


def test_a_wrong_formula_for_sizes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (lambda n, k, p, s: (n + p - k) // s + 1, lambda n, k, p, s: (n + 2 * p - k + s) // s + (s == 3)):
        monkeypatch.setattr(lessons, "out_of", wrong)
        assert lessons.sized() > 0


def test_kernels_do_what_they_are_called() -> None:
    assert {name: float(kernel.sum()) for name, kernel in KERNELS.items()} == {
        "blur": 1,
        "sharpen": 1,
        "vertical": 0,
        "horizontal": 0,
    }
    noise = Numbers(0).picture(1, 9, 9)
    spread = {name: float(applied(kernel, noise).std()) for name, kernel in KERNELS.items()}
    assert spread["blur"] < float(noise.std()) < spread["sharpen"]
    assert torch.equal(KERNELS["horizontal"], KERNELS["vertical"].transpose(2, 3))
    assert applied(KERNELS["blur"], noise, padding=1).shape == noise.shape


@pytest.mark.parametrize("name", KERNELS)
def test_another_kernel_would_be_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERNELS, name, KERNELS[name] * 1.5)
    assert not all_hold(kernels())


@pytest.mark.parametrize(
    ("few", "many", "said"),
    [
        (16, 144, "88.89 %"),
        (4, 4, "0.00 %"),
        (27, 3_600_000_000, "99.999999 %"),
        (5, 100_000, "99.995 %"),
        (1, 3, "66.67 %"),
    ],
)
def test_fewer_never_rounds_to_all(few: int, many: int, said: str) -> None:
    assert fewer(few, many) == said


def test_bytes_in_units() -> None:
    assert [size(count) for count in (4, 999, 1000, 14_400_000_000, 2_500_000, 10**15)] == [
        "4 bytes",
        "999 bytes",
        "1 kB",
        "14.4 GB",
        "2.5 MB",
        "1000 TB",
    ]


def test_the_walk_tells_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["derive"]) == 0
    told = capsys.readouterr().out
    for number in ("= 144 weights, 576 bytes", " 36  0", " 16  0", "88.89 % fewer", "= 4 places", "would take 64"):
        assert number in told
    assert "V[a,b] only for 0 <= a, b <= 1, counted from the window's first pixel" in told
    for number in ("1,200,000,000", "3,600,000,000", "14.4 GB", "120,000,000 of some texts is too small by"):
        assert number in told
    assert len(told.splitlines()) < 50
    assert max(map(len, told.splitlines())) <= 120
    assert "NOT EQUAL" not in told
    assert "a small one" not in told
    for only_elsewhere in ("- asked for:", "a dense layer of as many"):
        assert only_elsewhere not in told


@pytest.mark.parametrize("layer", [*LAYERS, PHOTO], ids=str)
def test_the_columns_stand_one_under_the_other(layer: Layer) -> None:
    steps, others = derivation(layer), [*convolution(), *kernels()]
    rows = [line for line in walk(layer, steps, others) if line.endswith("  0")]
    assert len(rows) == len(steps) + len(others)
    assert len(set(map(len, rows))) == 1


def test_a_photo_is_counted_at_once_and_proved_small(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["derive", "--image", "3000x4000x3", "--hidden", "100", "--kernel", "3"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for said in (
        "= 3,600,000,000 weights, 14.4 GB in float32",
        "= 11,986,004 places",
        "with 1 neuron at each that is 11,986,004. A convolution has 11,986,004 neurons, not 100: steps 1 and 2 count "
        "a dense layer of as many, 431,496,144,000,000 weights.",
        "off by - asked for: 100 neurons 3,600,000,000 1 dense:",
        "what is proved here is a small one, picture 6x7x3, 20 neurons, kernel 3x3",
        "27 of the 3,600,000,000 weights asked for: 99.999999 % fewer",
        "100 at every place, would take 2,700",
        "only for |a|, |b| <= 1, counted from the window's middle",
    ):
        assert said in told


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--image 3x", "--image must be HEIGHTxWIDTHxCHANNELS, such as 6x6x3, not '3x'"),
        ("--image 3x3", "--image must be"),
        ("--image 3x3x3x3", "--image must be"),
        ("--image 0x3x1", "each number of --image 0x3x1 must be a whole number from 1"),
        ("--image 3x3x0", "not '0'"),
        ("--image 3x-3x1", "not '-3'"),
        ("--image 3x3x1.5", "not '1.5'"),
        ("--image 3xx1", "not ''"),
        ("--image ٣x3x1", "not '٣'"),
        ("--image 3x3x1000000000", "to 999,999,999"),
        ("--hidden 0", "--hidden must be a whole number"),
        ("--hidden many", "--hidden must be a whole number"),
        ("--kernel 0", "--kernel must be a whole number"),
        ("--kernel 4", "--kernel 4 does not fit into a picture of 3x3 pixels"),
        ("--image 2x9x1 --kernel 3", "--kernel 3 does not fit into a picture of 2x9 pixels"),
        ("--image 9x2x1 --kernel 3", "--kernel 3 does not fit into a picture of 9x2 pixels"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(flags: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["derive", *flags.split()]) == 2
    told = capsys.readouterr()
    assert not told.out
    [line] = told.err.splitlines()
    assert said in line


def test_a_picture_is_read_height_first() -> None:
    assert Layer.read("5X7x2", "31", "3") == ODD
    with pytest.raises(InvalidRequest):
        Layer.read("5x7x2", "31", "6")


def test_what_does_not_hold_is_shown_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    honest = functional.conv2d
    monkeypatch.setattr(functional, "conv2d", lambda *given, **named: honest(*given, **named) + 1)
    parser = ArgumentParser()
    add_derive(parser)
    options = parser.parse_args(["--write", str(tmp_path)])
    assert options.command(options) == UNPROVED != 0
    told = capsys.readouterr()
    assert "NOT EQUAL" in told.out
    assert "a claim does not hold" in told.err
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_fails_is_marked_on_its_own_line() -> None:
    lines = list(walk(SMALL, [Step("this", 1, 0.0), Step("that", None, 0.5)], []))
    [marked] = [line for line in lines if "NOT EQUAL" in line]
    assert "2 that" in marked
    assert "0.5" in marked
