"""The committed models: what their files say about themselves is so."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from service.inference.contract.card import METADATA_KEY, ModelCard
from service.inference.graph.layers import Graph
from training.data.table import data_set
from training.evaluate import by_onnx, by_torch, predict, report
from training.export import MODEL, TOLERANCE, exported
from training.networks.table import parameters
from training.parity import layer_differences

MODELS = Path(__file__).parents[2] / "models"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
VERSION = MODELS / "fashion-mnist" / "1"


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(VERSION / MODEL)


@pytest.fixture(scope="module")
def card(model: onnx.ModelProto) -> ModelCard:
    return ModelCard.model_validate_json({item.key: item.value for item in model.metadata_props}[METADATA_KEY])


def test_every_layer_named_after_a_module_equals_its_hook(model: onnx.ModelProto) -> None:
    network = exported(VERSION).network
    pixels = np.random.default_rng(1).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
    differences = layer_differences(model, network, pixels)
    rest = {layer.name for layer in Graph.of(model).layers} - set(differences)
    assert rest == {"input.scaled.cast", "input.scaled.sub", "probabilities"}
    assert max(differences.values()) <= TOLERANCE


def test_golden_answers_are_given_again(card: ModelCard) -> None:
    answer = by_onnx(VERSION / MODEL)
    for golden in card.golden:
        given = answer(np.asarray(golden.array("uint8"), np.uint8)[None])[0]
        assert np.abs(given - golden.output).max() <= card.tolerance


def test_the_accuracy_promised_is_kept(card: ModelCard) -> None:
    assert card.evaluation is not None
    assert card.evaluation.count == 10_000
    assert card.evaluation.accuracy >= 0.93


def test_the_network_is_small() -> None:
    assert parameters(exported(VERSION).network) <= 300_000


def test_no_path_of_the_exporting_machine_is_in_the_file() -> None:
    data = (VERSION / MODEL).read_bytes()
    assert not any(trace in data for trace in (b".py", b"pkg.torch", b"/usr/", b"/home/", b"/tmp/"))


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_accuracy_on_the_test_set_is_the_cards(card: ModelCard) -> None:
    data = data_set("fashion-mnist")
    test = data.read_test(DEBIAN)
    for predictor in (by_onnx(VERSION / MODEL), by_torch(exported(VERSION))):
        assert report(predict(predictor, test), test, data.task.labels).card() == card.evaluation


def test_the_readme_states_what_the_card_and_the_file_say(model: onnx.ModelProto, card: ModelCard) -> None:
    assert card.evaluation is not None
    text = (MODELS / "README.md").read_text().replace(" %", "%")
    assert f"| Accuracy on the {card.evaluation.count:,} test pictures | {card.evaluation.accuracy:.2%} |" in text
    for label, share in card.evaluation.per_class.items():
        assert f"| {label} | {share:.1%} |" in text
    network = exported(VERSION).network
    assert f"| Parameters that training changes | {parameters(network):,} |" in text
    macs = Graph.of(model).totals.macs
    assert macs is not None
    assert f"| Multiply-adds for one picture | {macs / 1e6:.1f} million |" in text
    assert f"| model.onnx | {(VERSION / MODEL).stat().st_size:,} bytes |" in text
