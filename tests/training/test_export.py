from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.training.conftest import FASHION, TINY, Make, settled
from training import export as exporting
from training.checkpoint import CHECKPOINT, keep
from training.data.examples import Examples
from training.distributed import Group
from training.evaluate import by_onnx
from training.export import MODEL, WEIGHTS, ExportRefused, calibration, card_of, export, exported_recipe
from training.learner import Epoch
from training.loop import Outcome
from training.networks.table import build
from training.resuming import begin
from training.runs import Run, record

WARMTH = 1.7


@pytest.fixture
def run(tmp_path: Path, examples: Make) -> Run:
    begun = begin(tmp_path / "run", "fashion-mnist", TINY, FASHION.task, Group())
    keep(settled(build(TINY, FASHION.task)), begun.folder / CHECKPOINT)
    outcome = Outcome(Epoch(2, 1.0, 0.5, 1.0, 0.5), interrupted=False)
    return record(begun, outcome, examples(40, 3))


@pytest.fixture
def test_set(examples: Make) -> Examples:
    return examples(60, 2)


def test_golden_inputs_have_the_files_own_answers(run: Run, test_set: Examples, tmp_path: Path) -> None:
    export(run, FASHION, test_set, tmp_path / "1")
    card, answer = card_of(tmp_path / "1" / MODEL), by_onnx(tmp_path / "1" / MODEL)
    assert len(card.golden) == 4
    for index, golden in enumerate(card.golden):
        pixels = np.asarray(golden.array("uint8"), np.uint8)
        assert (pixels == test_set.inputs[index].numpy()).all()
        assert np.abs(answer(pixels[None])[0] - golden.output).max() <= card.tolerance


def test_the_card_says_what_the_file_does_and_where_it_comes_from(run: Run, test_set: Examples, tmp_path: Path) -> None:
    result = export(run, FASHION, test_set, tmp_path / "1")
    card = card_of(tmp_path / "1" / MODEL)
    assert card.input.shape == (28, 28, 1)
    assert (card.input.name, card.output.name, card.output.activation) == ("pixels", "probabilities", "none")
    assert card.evaluation == result.card()
    assert card.evaluation.count == 60
    assert card.parity is not None
    assert card.parity.largest_difference <= 1e-4
    assert card.provenance is not None
    assert card.provenance.seed == TINY.seed
    assert card.provenance.command.startswith("python -m training train fashion-mnist --width 2")
    assert {"torch", "onnxruntime"} <= set(card.provenance.versions)
    assert str(tmp_path) not in card.model_dump_json()


def test_an_interrupted_run_is_told_by_the_card(run: Run, test_set: Examples, tmp_path: Path) -> None:
    export(replace(run, interrupted=True), FASHION, test_set, tmp_path / "1")
    provenance = card_of(tmp_path / "1" / MODEL).provenance
    assert provenance is not None
    assert "interrupted, epoch 2 kept" in provenance.command


def test_the_file_yields_probabilities(run: Run, test_set: Examples, tmp_path: Path) -> None:
    export(run, FASHION, test_set, tmp_path / "1")
    answers = by_onnx(tmp_path / "1" / MODEL)(test_set.inputs.numpy())
    assert answers.shape == (60, 10)
    assert np.abs(answers.sum(axis=1) - 1).max() < 1e-5


def test_a_batch_answers_as_its_pictures_do_alone(run: Run, test_set: Examples, tmp_path: Path) -> None:
    export(run, FASHION, test_set, tmp_path / "1")
    answer, pixels = by_onnx(tmp_path / "1" / MODEL), test_set.inputs.numpy()[:7]
    singles = np.concatenate([answer(pixels[index : index + 1]) for index in range(7)])
    assert np.abs(answer(pixels) - singles).max() <= 1e-5


def test_the_weights_beside_it_are_the_unfolded_ones(run: Run, test_set: Examples, tmp_path: Path) -> None:
    export(run, FASHION, test_set, tmp_path / "1")
    weights, network = load_file(tmp_path / "1" / WEIGHTS), run.network()
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())
    assert "stem.norm.running_var" in weights


def test_the_same_run_gives_the_same_bytes(run: Run, test_set: Examples, tmp_path: Path) -> None:
    for number in ("1", "2"):
        export(run, FASHION, test_set, tmp_path / number)
    for name in (MODEL, WEIGHTS):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def refused(run: Run, test_set: Examples, folder: Path, message: str) -> None:
    with pytest.raises(ExportRefused, match=message):
        export(run, FASHION, test_set, folder)
    assert not folder.exists()
    assert list(folder.parent.glob(".*")) == []


def test_a_file_that_answers_otherwise_than_pytorch_is_not_written(
    run: Run, test_set: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = exporting.exported_graph

    def skewed(deployed: nn.Module, *rest: object) -> onnx.ModelProto:
        other = deepcopy(deployed)
        with torch.no_grad():
            other.get_parameter("network.head.bias")[0] += 0.01
        return original(other, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(exporting, "exported_graph", skewed)
    refused(run, test_set, tmp_path / "1", "onnxruntime and PyTorch differ by")


def test_a_file_whose_layers_bear_the_wrong_names_is_not_written(
    run: Run, test_set: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = exporting.exported_graph

    def misnamed(*arguments: object) -> onnx.ModelProto:
        model = original(*arguments)  # type: ignore[arg-type]
        for node in model.graph.node:
            for values in (node.input, node.output):
                values[:] = ["stem.conv" if name == "stem.norm" else name for name in values]
        return model

    monkeypatch.setattr(exporting, "exported_graph", misnamed)
    refused(run, test_set, tmp_path / "1", r"layer stem\.conv differs from its module")


def test_the_recipe_is_read_back_from_the_file(run: Run, test_set: Examples, tmp_path: Path) -> None:
    export(run, FASHION, test_set, tmp_path / "1")
    assert exported_recipe(tmp_path / "1" / MODEL) == TINY


@pytest.mark.parametrize("content", [None, b"", b"no model at all"])
def test_a_file_without_a_recipe_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / MODEL).write_bytes(content)
    with pytest.raises(ExportRefused, match="is not there, or holds no card"):
        exported_recipe(tmp_path / MODEL)


def test_a_factor_on_logarithms_undoes_the_temperature(examples: Make) -> None:
    test, logits = examples(60, 2), 3 * torch.randn(60, 10, generator=torch.Generator().manual_seed(1))
    warm, plain = ((logits / warmth).softmax(1).numpy() for warmth in (WARMTH, 1.0))
    found, without = calibration(WARMTH, warm, test), calibration(1.0, plain, test)
    assert found.error_before == pytest.approx(without.error_after, abs=1e-6)
    assert found.error_after != pytest.approx(found.error_before, abs=1e-3)
    assert (found.temperature, found.count) == (WARMTH, 60)


def test_a_temperature_beyond_all_measure_can_be_undone(examples: Make) -> None:
    hot = np.full((60, 10), 0.1, np.float32)
    hot[:, 3:5] = (0.0, 0.2)
    found = calibration(1e6, hot, examples(60, 2))
    assert 0.5 < found.error_before <= 1


def test_a_factor_on_logarithms_undoes_the_temperature_of_yes_or_no(examples: Make) -> None:
    test, logits = examples(60, 2), 3 * torch.randn(60, 1, generator=torch.Generator().manual_seed(1))
    test = Examples(test.inputs, test.targets % 2)
    warm, plain = ((logits / warmth).sigmoid().numpy() for warmth in (WARMTH, 1.0))
    found, without = calibration(WARMTH, warm, test), calibration(1.0, plain, test)
    assert found.error_before == pytest.approx(without.error_after, abs=1e-6)
