import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import FASHION, ROWS, TINY, Make
from training import records
from training.calibration import reliability
from training.checkpoint import CHECKPOINT, keep
from training.commands.seeds import seeds, spread
from training.distributed import CPU, Group
from training.evaluate import Report
from training.learner import first_kernels
from training.loop import Outcome
from training.networks.table import build
from training.records import Result, draw_history, judged, write_result
from training.resuming import begin
from training.runs import Run


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
    assert f"{errors[0]:.2%} without temperature, {errors[1]:.2%} with temperature 3.000" in text
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


def test_several_seeds_have_a_mean_and_a_spread(run: Run) -> None:
    part = reliability(np.array([[0.9, 0.1]], np.float32), np.array([0]))
    results = [
        Result(run, Report(("a", "b"), np.array([[right, 10 - right], [0, 0]])), part, part) for right in (7, 8, 9)
    ]
    said = spread(results)
    assert len(said.splitlines()) == 5
    assert said.endswith("deviation of 3 runs: validation 70.00% ± 0.00%, test 80.00% ± 10.00%")
    assert seeds("1,2,30") == [1, 2, 30]
