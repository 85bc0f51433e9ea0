"""The record of a run beside its checkpoint: its curve and kernels as pictures, and how it did on the test set."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from training.calibration import Reliability, reliability
from training.data.examples import Examples
from training.deployed import Deployed
from training.evaluate import Report, per_label, report
from training.files import write_json, write_whole
from training.loop import Outcome, logits_of
from training.plots import draw_confusion, draw_curve, draw_kernels, draw_reliability
from training.runs import Run

CURVE_PICTURE, KERNELS_PICTURE = "curve.png", "kernels.png"
REPORT, REPORT_TEXT = "report.json", "report.txt"
CONFUSION_PICTURE, RELIABILITY_PICTURE = "confusion.png", "reliability.png"


@dataclass(frozen=True)
class Result:
    """How a run did on the test set, and how far its confidence is from that, without and with the temperature."""

    run: Run
    report: Report
    before: Reliability
    after: Reliability

    def __str__(self) -> str:
        before, after = f"{self.before.error:.2%} without temperature", f"{self.after.error:.2%} with temperature"
        calibration = f"calibration error: {before}, {after} {self.run.temperature:.3f}"
        return f"{self.report}\n\n{calibration}\none run, of seed {self.run.recipe.seed}"

    def values(self) -> dict[str, object]:
        """Everything as JSON has it."""
        return {
            "accuracy": self.report.accuracy,
            "count": self.report.count,
            "per_class": self.report.per_class,
            "labels": self.report.labels,
            "confusion": self.report.confusion.tolist(),
            "temperature": self.run.temperature,
            "calibration_error_before": self.before.error,
            "calibration_error_after": self.after.error,
            "seed": self.run.recipe.seed,
        }


def draw_history(outcome: Outcome, folder: Path) -> None:
    """Draw what became of a run, epoch by epoch, into its `folder`."""
    draw_curve(outcome.rows, folder / CURVE_PICTURE)
    draw_kernels(outcome.kernels, folder / KERNELS_PICTURE)


def judged(run: Run, test: Examples, device: torch.device) -> Result:
    """Judge what a run leaves by the test set, on `device`."""
    logits = logits_of(run.network().to(device), test)
    plain, deployed = (
        per_label(Deployed(nn.Identity(), run.task, temperature)(logits).numpy())
        for temperature in (1.0, run.temperature)
    )
    targets = test.targets.numpy()
    before, after = reliability(plain, targets), reliability(deployed, targets)
    return Result(run, report(deployed, test, run.task.labels), before, after)


def write_result(result: Result) -> None:
    """Write a result into its run's folder: for people, for programs, and as pictures."""
    folder = result.run.folder
    write_whole(folder / REPORT_TEXT, f"{result}\n".encode())
    write_json(folder / REPORT, result.values())
    draw_confusion(result.report, folder / CONFUSION_PICTURE)
    draw_reliability(result.before, result.after, folder / RELIABILITY_PICTURE)
