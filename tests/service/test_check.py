"""Bring your own model: one command says what a file is, another serves it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from PIL import Image

from service.__main__ import REFUSED, main
from service.check import install
from service.errors import ModelRejected
from service.inference.contract.card import ModelCard
from tests.service.foreign import foreign_onnx
from tests.service.server import PATIENCE, free_port


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "their model.onnx"
    onnx.save(foreign_onnx(), file)
    return file


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    file = tmp_path / "labels.txt"
    file.write_text("red\ngreen\nblue\n")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in {"red": (250, 90, 80), "green": (90, 240, 100), "blue": (80, 100, 255)}.items():
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (9, 8), colour).save(tmp_path / "pictures" / name / "one.png")
    return tmp_path / "pictures"


def test_one_screen_says_what_a_file_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 0
    said = capsys.readouterr().out
    for fact in (
        "opset 18",
        "x: tensor(float) ['N', 3, 8, 8]",
        "batches   yes",
        "RGB 8x8, 3 labels",
        "guessed: layout",
    ):
        assert fact in said
    assert len(said.splitlines()) < 25
    ModelCard.model_validate(json.loads(said.partition("card.json:\n")[2]))


def test_a_picture_is_named(file: Path, labels: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(folder / "blue" / "one.png")
    assert main(["check", str(file), "--labels", str(labels), "--picture", picture]) == 0
    said = capsys.readouterr().out
    assert said.partition("one.png shows\n")[2].splitlines()[0].endswith("blue")


def test_the_best_preprocessing_is_found_and_installed(
    file: Path,
    labels: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    onnx.save(foreign_onnx(offset=150.0), file)
    monkeypatch.setenv("CONVSCOPE_MODELS", str(tmp_path / "models"))
    command = ["check", str(file), "--labels", str(labels), "--folder", str(folder), "--install", "theirs"]
    assert main(command) == main(command) == 0
    assert "100.00%  RGB, 0 to 255" in capsys.readouterr().out
    card = ModelCard.model_validate_json((tmp_path / "models" / "theirs" / "card.json").read_text())
    assert (card.input.colour, card.input.scale, card.input.mean) == ("RGB", 1.0, ())
    assert sorted(path.name for path in (tmp_path / "models" / "theirs").iterdir()) == ["1", "2", "card.json"]


def test_data_beside_the_file_is_installed_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = foreign_onnx()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1000, np.float32), "large"))
    model.graph.node.append(onnx.helper.make_node("Identity", ["large"], ["unused"]))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=100)
    monkeypatch.setenv("CONVSCOPE_MODELS", str(tmp_path / "models"))
    assert main(["check", str(tmp_path / "m.onnx"), "--install", "theirs"]) == 0
    assert "installed" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "models" / "theirs" / "1").iterdir()} == {"model.onnx", "m.data"}


def test_data_outside_the_files_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret").write_bytes(bytes(4000))
    model = foreign_onnx()
    tensor = onnx.TensorProto(name="large", data_type=onnx.TensorProto.FLOAT, dims=[1000])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    model.graph.initializer.append(tensor)
    onnx.save(model, tmp_path / "inside" / "m.onnx")
    with pytest.raises(ModelRejected, match="outside its folder"):
        install(tmp_path / "inside" / "m.onnx", None, tmp_path / "models", "theirs")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere.onnx"], "cannot be opened"),
        (["{file}", "--labels", "nowhere.txt"], "nowhere.txt"),
        (["{file}", "--picture", "nowhere.png"], "nowhere.png"),
        (["{file}", "--install", "../up"], "no name for a model"),
        (["{free}", "--picture", "{file}"], "none could be drafted"),
    ],
)
def test_a_refusal_is_one_line(
    file: Path, tmp_path: Path, arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(foreign_onnx(size=("h", "w")), tmp_path / "free.onnx")
    filled = [argument.format(file=file, free=tmp_path / "free.onnx") for argument in arguments]
    assert main(["check", *filled]) == REFUSED
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert reason in said


def test_one_command_serves_a_strangers_model_with_its_layers(file: Path, labels: Path, folder: Path) -> None:
    port = free_port()
    environment = {**os.environ, "CONVSCOPE_PORT": str(port), "CONVSCOPE_LOG_LEVEL": "error"}
    command = [sys.executable, "-m", "service", "serve", str(file), "--labels", str(labels)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = ""
        while "/docs" not in said:
            said = process.stdout.readline()
            assert said, "it ended before it said where it serves"
        address = f"http://127.0.0.1:{port}"
        assert said.startswith(f"{address}/docs")
        picture = (folder / "green" / "one.png").read_bytes()
        transport = httpx.HTTPTransport(retries=20)
        with httpx.Client(base_url=address, transport=transport, timeout=PATIENCE) as client:
            while client.get("/v2/health/ready").status_code != 200:
                pass
            headers = {"Content-Type": "image/png"}
            answer = client.post("/v1/models/their-model/predict", content=picture, headers=headers).json()
            assert answer["predictions"][0]["classes"][0]["label"] == "green"
            assert client.get("/v1/models/their-model/layers").json()["layers"][0]["name"] == "pool"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
