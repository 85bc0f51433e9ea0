import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from tests.training.conftest import FASHION, TINY
from training import records
from training.calibration import BINS, reliability
from training.checkpoint import CHECKPOINT, keep
from training.commands.seeds import seeds, spread
from training.data.examples import Examples
from training.distributed import CPU, Group
from training.evaluate import Report
from training.learner import Epoch, first_kernels
from training.loop import Outcome
from training.networks.table import build
from training.plots import CHOOSING, FRAME, LEARNING, draw_confusion, draw_curve, draw_kernels, draw_reliability, flat
from training.records import Result, draw_history, judged, write_result
from training.resuming import begin
from training.runs import Run

ROWS = (Epoch(1, 2.0, 0.3, 1.8, 0.4), Epoch(2, 1.0, 0.6, 0.9, 0.7))
Make = Callable[[int, int], Examples]


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    torch.manual_seed(1)
    begun = begin(tmp_path / "1", "fashion-mnist", TINY, FASHION.task, Group())
    keep(build(TINY, FASHION.task), begun.folder / CHECKPOINT)
    return Run(begun, 2, 0.7, interrupted=False, temperature=3.0)


def test_a_result_holds_the_table_and_the_calibration_with_and_without_temperature(run: Run, examples: Make) -> None:
    test = examples(60, 2)
    result = judged(run, test, CPU)
    with torch.inference_mode():
        logits = run.network()(test.inputs)
    plain = logits.softmax(1).numpy()
    assert result.report.confusion.trace() == (plain.argmax(1) == test.targets.numpy()).sum()
    assert result.before.error == pytest.approx(reliability(plain, test.targets.numpy()).error)
    warm = (logits / 3).softmax(1).numpy()
    assert result.after.error == pytest.approx(reliability(warm, test.targets.numpy()).error)
    assert result.after.error != result.before.error


def test_a_result_is_written_for_people_and_for_programs(run: Run, examples: Make) -> None:
    result = judged(run, examples(60, 2), CPU)
    write_result(result)
    values = json.loads((run.folder / records.REPORT).read_text())
    assert values["accuracy"] == result.report.accuracy
    assert values["per_class"] == result.report.per_class
    assert values["confusion"] == result.report.confusion.tolist()
    errors = values["calibration_error_before"], values["calibration_error_after"]
    assert errors == (result.before.error, result.after.error)
    text = (run.folder / records.REPORT_TEXT).read_text()
    assert str(result.report) in text
    assert f"{errors[0]:.2%} as trained, {errors[1]:.2%} with temperature 3.000" in text
    assert "one run, of seed 3" in text
    assert {records.CONFUSION_PICTURE, records.RELIABILITY_PICTURE} <= {path.name for path in run.folder.iterdir()}


def test_a_history_is_drawn_the_same_each_time(tmp_path: Path) -> None:
    kernels = tuple(first_kernels(build(TINY, FASHION.task)) * 2)
    drawn = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        draw_history(Outcome(ROWS[1], False, ROWS, kernels), tmp_path / name)
        drawn.append(
            [(tmp_path / name / file).read_bytes() for file in (records.CURVE_PICTURE, records.KERNELS_PICTURE)]
        )
    assert drawn[0] == drawn[1]


def test_the_curve_shows_every_row(tmp_path: Path) -> None:
    draw_curve(ROWS, tmp_path / "two.png")
    draw_curve(ROWS[:1], tmp_path / "one.png")
    assert not np.array_equal(pixels(tmp_path / "two.png"), pixels(tmp_path / "one.png"))


def test_the_first_convolution_is_found_in_any_network_that_has_one() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Conv1d(1, 4, 5)), nn.Conv1d(4, 2, 3))
    [kernels] = first_kernels(network)
    assert kernels.shape == (4, 1, 5)
    assert first_kernels(nn.Linear(2, 2)) == []


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((4, 1, 5), (4, 1, 5, 3)),
        ((4, 2, 5), (4, 2, 5, 3)),
        ((4, 1, 3, 2), (4, 3, 2, 3)),
        ((4, 3, 3, 2), (4, 3, 2, 3)),
        ((4, 5, 3, 2), (4, 15, 2, 3)),
        ((4, 1, 3, 2, 5), (4, 2, 5, 3)),
    ],
)
def test_kernels_of_any_rank_are_pictures(shape: tuple[int, ...], shown: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    pictures = flat(values)
    assert pictures.shape == shown
    if shape[1] == 3:
        assert (pictures[1, 2, 1] == values[1, :, 2, 1]).all()
    elif len(shape) == 5:
        assert (pictures[1, :, :, 0] == values[1, 0, 1]).all()
    else:
        assert (pictures[2, ..., 1].ravel() == values[2].ravel()).all()


def test_kernels_have_a_row_an_epoch_in_which_grey_is_nothing(tmp_path: Path) -> None:
    black, light = torch.full((3, 1, 3, 3), -1.0), torch.full((3, 1, 3, 3), 0.5)
    draw_kernels([black, torch.zeros(3, 1, 3, 3), light], tmp_path / "kernels.png")
    shown = pixels(tmp_path / "kernels.png")
    frame = (np.array(FRAME) * 255).round().astype(np.uint8)
    framed = (shown == frame).all(axis=2)
    column = np.flatnonzero(framed.any(axis=0))[0] + 20  # inside the first kernel, right of the frame
    inner = shown[framed.any(axis=1), column].astype(int)
    levels = [int(value[0]) for value in inner if len(set(value.tolist())) == 1]
    changes = [level for place, level in enumerate(levels) if place == 0 or levels[place - 1] != level]
    assert [level for level in changes if level in (0, 127, 128, 191, 255)] in ([0, 127, 191], [0, 128, 191])


def test_however_many_epochs_the_kernels_stay_a_picture(tmp_path: Path) -> None:
    draw_kernels([torch.ones(2, 4, 11, 11)] * 2001, tmp_path / "kernels.png")
    assert max(pixels(tmp_path / "kernels.png").shape) < 13000


def test_without_a_convolution_there_is_no_picture_of_kernels(tmp_path: Path) -> None:
    draw_kernels([], tmp_path / "kernels.png")
    assert not (tmp_path / "kernels.png").exists()


def test_confusions_and_confidence_are_drawn_whatever_is_empty(tmp_path: Path) -> None:
    for count in (2, 30):
        confusion = np.zeros((count, count), np.int64)
        confusion[0, 1] = 5
        draw_confusion(Report(tuple(map(str, range(count))), confusion), tmp_path / f"{count}.png")
    assert pixels(tmp_path / "2.png").shape < pixels(tmp_path / "30.png").shape
    part = reliability(np.array([[0.9, 0.1]], np.float32), np.array([0]))
    assert len(part.count) == BINS
    draw_reliability(part, part, tmp_path / "reliability.png")
    shown = pixels(tmp_path / "reliability.png").astype(int)
    for colour in (CHOOSING, LEARNING):  # of the bar, and of its dot
        assert (abs(shown - 255 * np.array(to_rgb(colour))) < 2).all(axis=2).any()


def test_several_seeds_have_a_mean_and_a_spread(run: Run) -> None:
    part = reliability(np.array([[0.9, 0.1]], np.float32), np.array([0]))
    results = [
        Result(run, Report(("a", "b"), np.array([[right, 10 - right], [0, 0]])), part, part) for right in (7, 8, 9)
    ]
    said = spread(results)
    assert len(said.splitlines()) == 5
    assert said.endswith("deviation of 3 runs: validation 70.00% ± 0.00%, test 80.00% ± 10.00%")
    assert seeds("1,2,30") == [1, 2, 30]
