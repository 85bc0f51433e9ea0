import hashlib
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from service.inference.contract.card import METADATA_KEY
from service.inference.serving.model import open_session
from service.inference.serving.proof import prove
from service.inference.serving.providers import Providers
from tests.training.conftest import FASHION
from tests.training.pictures import pets
from training.__main__ import REFUSED, main
from training.evaluate import Report, by_onnx, predict
from training.export import MODEL, calibration, card_of
from training.int8 import in_int8
from training.quantize import Judged

Pixels = NDArray[np.generic]


@pytest.fixture(scope="session")
def trained(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with a small network that has learnt its stripes."""
    folder = tmp_path_factory.mktemp("trained")
    runs = ["--runs", str(folder / "runs"), "--models", str(folder / "models"), "--data-dir", str(data_dir)]
    recipe = ["--width", "2", "--epochs", "3", "--held-out", "40", "--averaging", "0.5", "--label-smoothing", "0.3"]
    assert main(["train", *runs, *recipe, "--batch", "16", "--export"]) == 0
    return folder / "models"


@pytest.fixture(scope="session")
def quantised(trained: Path, data_dir: Path) -> Path:
    """The same with its INT8 form, to look at."""
    places = ["--models", str(trained), "--data-dir", str(data_dir)]
    assert main(["quantize", *places, "--examples", "90", "--tolerance", "50"]) == 0
    return trained


@pytest.fixture
def models(trained: Path, tmp_path: Path) -> Path:
    version = tmp_path / "models" / "fashion-mnist" / "1"
    version.mkdir(parents=True)
    (version / MODEL).write_bytes((trained / "fashion-mnist" / "1" / MODEL).read_bytes())
    return tmp_path / "models"


@pytest.fixture
def places(models: Path, data_dir: Path) -> list[str]:
    return ["--models", str(models), "--data-dir", str(data_dir)]


def test_the_written_file_is_alone_and_says_how_it_was_made(quantised: Path) -> None:
    source, folder = quantised / "fashion-mnist/1" / MODEL, quantised / "fashion-mnist-int8/1"
    assert [path.name for path in folder.iterdir()] == [MODEL]
    assert [path.name for path in folder.parent.iterdir()] == ["1"]
    before, after = card_of(source), card_of(folder / MODEL)
    assert before.provenance is not None
    assert after.provenance is not None
    made = after.provenance.quantised
    assert made is not None
    assert (made.source, made.count) == ("fashion-mnist/1", 90)
    assert made.command == "python -m training quantize fashion-mnist --version 1 --examples 90 --tolerance 50"
    assert hashlib.sha256(source.read_bytes()).hexdigest().startswith(made.sha256)
    assert len(made.sha256) == 12
    assert set(made.versions) == {"numpy", "onnx", "onnxruntime"}
    assert after.provenance.model_copy(update={"quantised": None}) == before.provenance
    assert before.provenance.quantised is None
    same = {"task", "labels", "input", "output"}
    assert after.model_dump(include=same) == before.model_dump(include=same)
    assert [entry.key for entry in onnx.load(folder / MODEL).metadata_props] == [METADATA_KEY]


def test_everything_that_was_measured_is_measured_again(quantised: Path, data_dir: Path) -> None:
    source, file = (quantised / name / "1" / MODEL for name in ("fashion-mnist", "fashion-mnist-int8"))
    test = FASHION.read_test(data_dir)
    before, after = (predict(by_onnx(path), test) for path in (source, file))
    card, float_card = card_of(file), card_of(source)
    right = after.argmax(1) == test.targets.numpy()
    assert card.evaluation is not None
    assert (card.evaluation.accuracy, card.evaluation.count) == (right.mean(), 60)
    assert card.parity is not None
    assert card.parity.largest_difference == np.abs(after - before).max() > 1e-4
    assert card.parity.reference.startswith("fashion-mnist/1, float32, sha256 ")
    assert card.parity.count == 60
    assert card.tolerance == 0.05
    assert len(card.golden) == 4
    for index, golden in enumerate(card.golden):
        assert (golden.array("uint8") == test.inputs[index].numpy()).all()
        assert np.allclose(golden.output, after[index], rtol=0, atol=1e-6)
    assert card.calibration is not None
    assert float_card.calibration is not None
    assert card.calibration.temperature == float_card.calibration.temperature != 1
    assert card.calibration == calibration(card.calibration.temperature, after, test)


def test_the_service_takes_the_file_by_its_proof(quantised: Path) -> None:
    file = quantised / "fashion-mnist-int8/1" / MODEL
    model, doubt = prove(open_session(str(file), Providers.of("cpu"), threads=1), card_of(file))
    assert doubt is None
    assert model.batches


def test_the_same_command_writes_the_same_bytes_as_the_next_version(
    places: list[str], models: Path, quantised: Path
) -> None:
    (models / "fashion-mnist-int8/4").mkdir(parents=True)
    assert main(["quantize", *places, "--examples", "90", "--tolerance", "50"]) == 0
    files = [folder / MODEL for folder in (quantised / "fashion-mnist-int8/1", models / "fashion-mnist-int8/5")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_more_than_the_tolerance_is_refused_with_both_accuracies(
    places: list[str], models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    def spoilt(*arguments: object) -> onnx.ModelProto:
        model = in_int8(*arguments)  # type: ignore[arg-type]
        for tensor in model.graph.initializer:
            if tensor.name == "stem.relu_scale":
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(30, np.float32), tensor.name))
        return model

    monkeypatch.setattr("training.quantize.in_int8", spoilt)
    assert main(["quantize", *places]) == REFUSED
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"error: fashion-mnist/1 recognises [\d.]+% of the test set, its INT8 form [\d.]+%: [\d.]+ points less, "
        r"and --tolerance allows 0\.5; nothing is written\n",
        said,
    )
    assert not (models / "fashion-mnist-int8").exists()


def test_a_fall_of_just_the_tolerance_is_allowed() -> None:
    reports = [Report(("a", "b"), np.array([[right, 1000 - right], [0, 0]])) for right in (910, 905)]
    assert Judged(*reports).fall == 0.5
    assert Judged(*reversed(reports)).fall == -0.5


def test_ranges_are_read_off_training_examples_that_chose_nothing(
    places: list[str], models: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Pixels] = []

    def watched(model: onnx.ModelProto, inputs: Pixels) -> onnx.ModelProto:
        seen.append(inputs)
        return in_int8(model, inputs)

    monkeypatch.setattr("training.quantize.in_int8", watched)
    assert main(["quantize", *places, "--examples", "1000", "--tolerance", "50"]) == 0
    training = {picture.tobytes() for picture in FASHION.read_training(data_dir).inputs.numpy()}
    used = {picture.tobytes() for picture in seen[0]}
    assert len(used) == 160  # of 200, less 40 held out
    assert used < training
    provenance = card_of(models / "fashion-mnist-int8/1" / MODEL).provenance
    assert provenance is not None
    assert provenance.quantised is not None
    assert provenance.quantised.count == 160


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--tolerance", "-1"], "--tolerance must be at least 0, not -1"),
        (["--tolerance", "nan"], "--tolerance must be at least 0, not nan"),
        (["--examples", "0"], "--examples must be at least 1, not 0"),
        (["--version", "7"], "is not there, or holds no card"),
    ],
)
def test_a_refusal_is_one_line(
    places: list[str], flags: list[str], sentence: str, capsys: pytest.CaptureFixture[str], models: Path
) -> None:
    assert main(["quantize", *places, *flags]) == REFUSED
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert sentence in said
    assert said.count("\n") == 1
    assert not (models / "fashion-mnist-int8").exists()


def test_what_is_int8_already_is_refused(quantised: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--models", str(quantised), "--data-dir", str(data_dir)]
    assert main(["quantize", "fashion-mnist-int8", *places]) == REFUSED
    assert "is INT8 already" in capsys.readouterr().err
    assert not (quantised / "fashion-mnist-int8-int8").exists()


def test_nothing_is_said_that_nobody_asked(
    places: list[str], models: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["quantize", *places, "--tolerance", "50"]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert said.out.startswith("accuracy ")
    size = (models / "fashion-mnist-int8/1" / MODEL).stat().st_size
    assert f"INT8: {size:,} bytes\nwritten: " in said.out
    assert not caplog.records


def test_an_int8_version_is_evaluated_by_onnxruntime_alone(
    quantised: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--models", str(quantised), "--data-dir", str(data_dir)]
    assert main(["evaluate", "fashion-mnist-int8", *places]) == 0
    text = capsys.readouterr().out
    assert "INT8 form of fashion-mnist/1: no weights of its own for PyTorch" in text
    assert "by PyTorch\n" not in text
    assert len(re.findall(r"accuracy \S+ on 60 inputs", text)) == 1


def test_a_card_without_calibration_gets_none(places: list[str], models: Path) -> None:
    source = models / "fashion-mnist/1" / MODEL
    graph, card = onnx.load(source), card_of(source).model_copy(update={"calibration": None})
    del graph.metadata_props[:]
    graph.metadata_props.add(key=METADATA_KEY, value=card.model_dump_json())
    source.write_bytes(graph.SerializeToString())
    assert main(["quantize", *places, "--tolerance", "50"]) == 0
    assert card_of(models / "fashion-mnist-int8/1" / MODEL).calibration is None


def test_a_model_of_your_own_pictures_is_quantised_by_them(
    tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = ["--folder", str(pets(tmp_path / "pets", "red", "green"))]
    places = ["--models", str(tmp_path / "models"), "--data-dir", str(data_dir)]
    small = ["--width", "2", "--size", "16", "--epochs", "1", "--runs", str(tmp_path / "runs"), "--export"]
    assert main(["train", "colours", *pictures, *places, *small]) == 0
    assert main(["quantize", "colours", *pictures, *places, "--tolerance", "100"]) == 0
    provenance = card_of(tmp_path / "models/colours-int8/1" / MODEL).provenance
    assert provenance is not None
    assert provenance.quantised is not None
    assert provenance.quantised.source == "colours/1"
    made_by = "python -m training quantize colours --version 1 --examples 128 --tolerance 100 --folder DIR"
    assert provenance.quantised.command == made_by
    assert main(["evaluate", "colours-int8", *pictures, *places]) == 0
    capsys.readouterr()
    others = ["--folder", str(pets(tmp_path / "others", "red", "blue"))]
    assert main(["quantize", "colours", *others, *places]) == REFUSED
    assert "has other classes than" in capsys.readouterr().err
    assert main(["quantize", "colours", *places]) == REFUSED
    assert "name their folder with --folder" in capsys.readouterr().err
