"""Quantise a model file, judge its INT8 form on the test set, and write that as a model with a card of its own."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from service.inference.contract.card import METADATA_KEY, ModelCard, Parity, Quantisation
from training.data.examples import Examples
from training.evaluate import Inputs, Probabilities, Report, by_onnx, predict, report
from training.export import calibration, card_of, golden, versions, write
from training.int8 import QuantisationRefused, in_int8

EXAMPLES = 128  # to read ranges off; 500 or 2,000 bring rarer extremes and coarser steps, and no accuracy
TOLERANCE = 0.05  # of golden answers: integers are rounded differently on processors without VNNI
METHOD = "static QDQ, 8-bit weights per channel, 8-bit activations by their extremes"
DIGITS = 12  # of a SHA-256, to tell a file by


@dataclass(frozen=True)
class Judged:
    """The float file and its INT8 form, on the same test set."""

    float32: Report
    int8: Report

    @property
    def fall(self) -> float:
        """By how many percentage points accuracy falls; below 0 where it rises."""
        return 100 * float(np.trace(self.float32.confusion) - np.trace(self.int8.confusion)) / self.int8.count


def quantize(source: Path, inputs: Inputs, test: Examples, folder: Path, tolerance: float, command: str) -> Judged:
    """Write `folder` with the INT8 form of the model file `source`, then say how both do on `test`.

    Ranges are read off `inputs`, a batch of training examples; `command` is for the card. Raises QuantisationRefused
    when accuracy falls by more than `tolerance` percentage points; then, as on any error, there is no `folder`.
    """
    name, card = f"{source.parents[1].name}/{source.parent.name}", card_of(source)
    model = in_int8(onnx.load(source), inputs)
    before, after = (predict(by_onnx(file), test) for file in (source, model.SerializeToString()))
    judged = Judged(*(report(answers, test, card.labels) for answers in (before, after)))
    if not judged.fall <= tolerance:
        raise QuantisationRefused(
            f"{name} recognises {judged.float32.accuracy:.2%} of the test set, "
            f"its INT8 form {judged.int8.accuracy:.2%}: {judged.fall:.2f} points less, "
            f"and --tolerance allows {tolerance:g}; nothing is written"
        )
    made = Quantisation(
        source=name,
        sha256=hashlib.sha256(source.read_bytes()).hexdigest()[:DIGITS],
        method=METHOD,
        count=len(inputs),
        command=command,
        versions=versions(("numpy", "onnx", "onnxruntime")),
    )
    model.metadata_props.add(key=METADATA_KEY, value=_card(card, made, before, after, judged, test).model_dump_json())
    write(model, folder)
    return judged


def _card(
    card: ModelCard, made: Quantisation, before: Probabilities, after: Probabilities, judged: Judged, test: Examples
) -> ModelCard:
    """The float file's card, with everything that was measured measured again."""
    return card.model_copy(
        update={
            "provenance": card.provenance and card.provenance.model_copy(update={"quantised": made}),
            "evaluation": judged.int8.card(),
            "calibration": card.calibration and calibration(card.calibration.temperature, after, test),
            "parity": Parity(
                reference=f"{made.source}, float32, sha256 {made.sha256}",
                largest_difference=float(np.abs(after - before).max()),
                count=len(after),
            ),
            "golden": golden(test.inputs.numpy(), after),
            "tolerance": TOLERANCE,
        }
    )
