"""The committed models: what their files say about themselves is so."""

import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.inference.contract.card import ModelCard
from service.inference.graph.layers import Graph
from tests.service.fashion import installed
from tests.training.small_data import unreachable
from training.data.examples import DataMissing
from training.data.table import data_set
from training.evaluate import by_onnx, by_torch, predict, report
from training.export import MODEL, TOLERANCE, WEIGHTS, card_of, exported, exported_recipe
from training.int8 import layer_names
from training.networks.table import parameters
from training.parity import layer_differences

ROOT = Path(__file__).parents[2]
MODELS, DATA = ROOT / "models", ROOT / "data"
VERSIONS = sorted(path.parent for path in MODELS.glob(f"*/*/{MODEL}"))
TRAINED = [version for version in VERSIONS if (version / WEIGHTS).is_file()]
INT8 = [version for version in VERSIONS if version not in TRAINED]
UNCALIBRATED = ("fashion-mnist/1",)
FLOORS = {
    "cats-dogs/1": 0.90,
    "cifar10/1": 0.94,
    "cifar10-int8/1": 0.935,
    "fashion-mnist/1": 0.93,
    "fashion-mnist/2": 0.94,
    "mnist1d/1": 0.92,
    "modelnet10/1": 0.90,
}
SIZES = {
    "cats-dogs/1": 1_200_000,
    "cifar10/1": 2_000_000,
    "cifar10-int8/1": 2_000_000,
    "fashion-mnist/1": 300_000,
    "fashion-mnist/2": 100_000,
    "mnist1d/1": 100_000,
    "modelnet10/1": 200_000,
}


def named(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


@pytest.fixture(params=VERSIONS, ids=named)
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def trained(folder: Path, card: ModelCard) -> Path:
    """The version that holds the weights: of an INT8 form, the float one that it was made of."""
    made = card.provenance and card.provenance.quantised
    return MODELS / made.source if made else folder


@pytest.fixture
def card(folder: Path) -> ModelCard:
    return card_of(folder / MODEL)


def test_no_model_is_without_a_promise_and_no_promise_without_its_model() -> None:
    assert set(FLOORS) == set(SIZES) == {named(version) for version in VERSIONS}


@pytest.mark.parametrize("folder", TRAINED, ids=named)
def test_every_layer_named_after_a_module_equals_its_hook(folder: Path, card: ModelCard) -> None:
    model = onnx.load(folder / MODEL)
    inputs = (np.random.default_rng(1).random((5, *card.input.shape)) * 250).astype(card.input.dtype)
    differences = layer_differences(model, exported(folder).network, inputs)
    rest = {layer.name for layer in Graph.of(model).layers} - set(differences)
    within = {name for name in rest if re.fullmatch(r"stage\d(\.block\d)?\.(add|pad)", name)}  # functions, no modules
    assert rest - within <= {"input.scaled.cast", "input.scaled.sub", "temperature.div", "probabilities"}
    assert max(differences.values()) <= TOLERANCE


def test_golden_answers_are_given_again(folder: Path, card: ModelCard) -> None:
    answer = by_onnx(folder / MODEL)
    assert card.golden
    for golden in card.golden:
        given = answer(golden.array(card.input.dtype)[None])[0]
        assert np.abs(given - golden.output).max() <= card.tolerance


def test_the_accuracy_promised_is_kept_within_the_size_promised(folder: Path, trained: Path, card: ModelCard) -> None:
    assert card.evaluation is not None
    assert card.evaluation.accuracy >= FLOORS[named(folder)]
    assert parameters(exported(trained).network) <= SIZES[named(folder)]


def test_the_temperature_brought_confidence_nearer_to_accuracy(folder: Path, card: ModelCard) -> None:
    if named(folder) in UNCALIBRATED:
        assert card.calibration is None
    else:
        assert card.calibration is not None
        assert card.calibration.error_after < card.calibration.error_before


def test_no_path_of_the_exporting_machine_is_in_the_file(folder: Path) -> None:
    model = onnx.load(folder / MODEL)
    for weights in model.graph.initializer:
        weights.ClearField("raw_data")  # any three bytes turn up among many weights
    data = model.SerializeToString()
    assert not any(trace in data for trace in (b".py", b"pkg.torch", b"/usr/", b"/home/", b"/tmp/"))


def test_the_accuracy_on_the_test_set_is_the_cards(
    folder: Path, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    name = exported_recipe(folder / MODEL).data
    data, where = data_set(name), installed() if name == "fashion-mnist" else DATA
    try:
        test = data.read_test(where)
    except DataMissing:
        pytest.skip(f"{name} is not in {where.name}/")
    predictors = [by_onnx(folder / MODEL), *([by_torch(exported(folder))] if folder in TRAINED else [])]
    for predictor in predictors:
        assert report(predict(predictor, test), test, data.task.labels).card() == card.evaluation


@pytest.mark.parametrize("folder", INT8, ids=named)
def test_an_int8_form_is_of_the_float_file_and_nearly_as_good(folder: Path, card: ModelCard, trained: Path) -> None:
    assert card.provenance is not None
    assert card.provenance.quantised is not None
    assert sha256((trained / MODEL).read_bytes()).hexdigest().startswith(card.provenance.quantised.sha256)
    assert layer_names(onnx.load(trained / MODEL)) <= layer_names(onnx.load(folder / MODEL))
    before, after = card_of(trained / MODEL).evaluation, card.evaluation
    assert before is not None
    assert after is not None
    assert before.accuracy - after.accuracy <= 0.005


def test_the_readme_states_what_the_card_and_the_file_say(folder: Path, trained: Path, card: ModelCard) -> None:
    assert card.evaluation is not None
    sections = (MODELS / "README.md").read_text().replace(" %", "%").split("\n## ")
    [text] = [section for section in sections if section.startswith(f"{named(folder)}\n")]
    things = "pictures" if card.input.kind == "image" else f"{card.input.kind}s"
    assert f"| Accuracy on the {card.evaluation.count:,} test {things} | {card.evaluation.accuracy:.2%} |" in text
    for label, share in card.evaluation.per_class.items():
        assert f"| {label} | {share:.1%} |" in text
    assert f"| Parameters | {parameters(exported(trained).network):,} |" in text
    macs = Graph.of(onnx.load(folder / MODEL)).totals.macs
    assert macs is not None
    assert f"| Multiply-adds for one {things[:-1]} | {macs / 1e6:.1f} million |" in text
    assert f"| model.onnx | {(folder / MODEL).stat().st_size:,} bytes |" in text
    if card.calibration:
        before, after = card.calibration.error_before, card.calibration.error_after
        assert f"| Calibration error, before and after the temperature | {before:.2%}, {after:.2%} |" in text
