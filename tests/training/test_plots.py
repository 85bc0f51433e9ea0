from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from tests.training.conftest import ROWS
from training import plots
from training.calibration import BINS, reliability
from training.evaluate import Report
from training.plots import CHOOSING, FRAME, LEARNING, draw_confusion, draw_curve, draw_kernels, draw_reliability, flat


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_curve_shows_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Figure] = []
    monkeypatch.setattr(plots, "save", lambda figure, _: saved.append(figure))
    draw_curve(ROWS, Path("curve.png"))
    [figure] = saved
    drawn = {
        (axes.get_title(), line.get_label()): (line.get_color(), np.asarray(line.get_xydata()).tolist())
        for axes in figure.axes
        for line in axes.get_lines()
    }
    assert drawn == {
        ("Loss", "training"): (LEARNING, [[row.epoch, row.training_loss] for row in ROWS]),
        ("Loss", "validation"): (CHOOSING, [[row.epoch, row.validation_loss] for row in ROWS]),
        ("Accuracy", "training"): (LEARNING, [[row.epoch, row.training_accuracy] for row in ROWS]),
        ("Accuracy", "validation"): (CHOOSING, [[row.epoch, row.validation_accuracy] for row in ROWS]),
    }


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
