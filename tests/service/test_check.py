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
from service.check import Checked, install
from service.errors import ModelRejected
from service.inference.contract.card import ModelCard
from service.inference.drafting.draft import Draft
from service.inference.serving.loading import read_card
from tests.service.foreign import foreign_onnx
from tests.service.numeric import signal_onnx, volume_onnx
from tests.service.odd_models import adding
from tests.service.server import PATIENCE, free_port
from tests.service.tiny import tiny_onnx


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


def test_signals_and_volumes_are_told_apart_from_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model, words in (
        (signal_onnx(), "take a signal through /v1: 1-channel 40, 2 labels"),
        (volume_onnx(), "take a volume through /v1: 1-channel 5x6x8, 3 labels"),
    ):
        onnx.save(model, tmp_path / "numeric.onnx")
        assert main(["check", str(tmp_path / "numeric.onnx")]) == 0
        assert words in capsys.readouterr().out


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
    assert sorted(path.name for path in (tmp_path / "models" / "theirs").iterdir()) == ["1", "2"]
    for version in (tmp_path / "models" / "theirs").iterdir():
        card = ModelCard.model_validate_json((version / "card.json").read_text())
        assert (card.input.colour, card.input.scale, card.input.mean) == ("RGB", 1.0, ())


def card_of(file: Path) -> ModelCard | None:
    return read_card(onnx.load(file), file)


def test_another_model_under_the_same_name_leaves_the_versions_before_it_as_they_are(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSCOPE_MODELS", str(tmp_path / "models"))
    onnx.save(tiny_onnx(), tmp_path / "other.onnx")
    for each in (file, tmp_path / "other.onnx"):
        assert main(["check", str(each), "--install", "theirs"]) == 0
    cards = [card_of(tmp_path / "models" / "theirs" / version / "model.onnx") for version in ("1", "2")]
    assert [card and card.input.name for card in cards] == ["x", "pixels"]


def test_a_file_without_a_card_is_not_installed_where_it_would_have_the_card_of_another(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONVSCOPE_MODELS", str(tmp_path / "models"))
    assert main(["check", str(file), "--install", "theirs"]) == 0
    theirs = tmp_path / "models" / "theirs"
    onnx.save(adding(), tmp_path / "cardless.onnx")
    assert main(["check", str(tmp_path / "cardless.onnx"), "--install", "theirs"]) == 0
    assert card_of(theirs / "2" / "model.onnx") is None
    (theirs / "1" / "card.json").rename(theirs / "card.json")
    capsys.readouterr()
    assert main(["check", str(tmp_path / "cardless.onnx"), "--install", "theirs"]) == REFUSED
    said = capsys.readouterr().err
    assert said.startswith("error: not installed, as it would not be served: ")
    assert str(theirs / "card.json") in said
    assert sorted(path.name for path in theirs.iterdir()) == ["1", "2", "card.json"]


def external() -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="far", data_type=onnx.TensorProto.FLOAT, dims=[2])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="far.data")
    return tensor


def keeping(place: str) -> onnx.ModelProto:
    """A model whose only tensor beside the file is in some place; what it computes does not matter."""
    model = foreign_onnx()
    body = onnx.helper.make_graph([], "body", [], [], [external()])
    branch = onnx.helper.make_node("If", ["c"], ["d"], then_branch=body)
    inner = onnx.helper.make_graph([branch], "outer", [], [])
    constant = onnx.helper.make_node("Constant", [], ["a"], value=external())
    if place == "attribute":
        model.graph.node.append(constant)
    elif place == "body":
        model.graph.node.append(branch)
    elif place == "body of a body":
        model.graph.node.append(onnx.helper.make_node("Loop", [], ["e"], body=inner))
    elif place == "function":
        opset = onnx.helper.make_opsetid("", 18)
        model.functions.append(onnx.helper.make_function("own", "F", [], ["a"], [constant], [opset]))
    else:
        sparse = onnx.SparseTensorProto(values=external(), indices=onnx.TensorProto(), dims=[4])
        model.graph.sparse_initializer.append(sparse)
    return model


@pytest.mark.parametrize("place", ["attribute", "body", "body of a body", "function", "sparse"])
def test_data_beside_the_file_is_found_wherever_a_tensor_may_be(tmp_path: Path, place: str) -> None:
    (tmp_path / "m.onnx").write_bytes(keeping(place).SerializeToString())
    (tmp_path / "far.data").write_bytes(bytes(8))
    folder = install(tmp_path / "m.onnx", None, tmp_path / "models", "theirs")
    assert sorted(path.name for path in folder.iterdir()) == ["far.data", "model.onnx"]


def test_constants_beside_the_file_are_installed_and_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = foreign_onnx()
    for tensor in model.graph.initializer:
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[:]
    onnx.save(
        model,
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
        convert_attribute=True,
    )
    monkeypatch.setenv("CONVSCOPE_MODELS", str(tmp_path / "models"))
    assert main(["check", str(tmp_path / "m.onnx"), "--install", "theirs"]) == 0
    assert Checked.of(tmp_path / "models" / "theirs" / "1" / "model.onnx").draft.card


def test_what_cannot_be_copied_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(keeping("attribute").SerializeToString())
    with pytest.raises(OSError, match="far"):
        install(tmp_path / "m.onnx", None, tmp_path / "models", "theirs")
    assert list((tmp_path / "models" / "theirs").iterdir()) == []


def test_an_output_beside_the_scores_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = foreign_onnx()
    model.graph.node.append(onnx.helper.make_node("Size", ["logits"], ["size"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("size", onnx.TensorProto.INT64, []))
    onnx.save(model, tmp_path / "m.onnx")
    assert main(["check", str(tmp_path / "m.onnx")]) == 0
    said = capsys.readouterr().out
    assert "that of output 'size' is not there" in said
    assert "card.json" in said


def test_a_drafted_card_that_proves_wrong_is_dropped_with_the_reason(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = Checked.of(file).draft.card
    assert right is not None
    wrong = right.model_copy(update={"labels": ("a", "b")})
    monkeypatch.setattr("service.check.draft", lambda *_: Draft(wrong))
    assert main(["check", str(file)]) == 0
    said = capsys.readouterr().out
    assert "not serve it through /v1: a card was drafted, but its output is float32 (3,), its card says 2" in said
    assert "card.json" not in said


@pytest.mark.parametrize(
    ("height", "hidden", "reason"),
    [
        ("height", False, "free: axis 2 of x (height)"),
        (8, True, "layer 'seen', a Block, is not counted"),
    ],
)
def test_why_multiply_adds_are_unknown_is_said(
    height: int | str, hidden: bool, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = foreign_onnx(size=(height, 8))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "kernel"))
    convolution = onnx.helper.make_node("Conv", ["x", "kernel"], ["seen"])
    if hidden:
        opset = onnx.helper.make_opsetid("", 18)
        inner = onnx.helper.make_node("Conv", ["i", "w"], ["o"])
        model.functions.append(onnx.helper.make_function("own", "Block", ["i", "w"], ["o"], [inner], [opset]))
        model.opset_import.append(onnx.helper.make_opsetid("own", 1))
        convolution = onnx.helper.make_node("Block", ["x", "kernel"], ["seen"], domain="own")
    model.graph.node.insert(0, convolution)
    model.graph.node[1].input[0] = "seen"
    onnx.save(model, tmp_path / "m.onnx")
    assert main(["check", str(tmp_path / "m.onnx")]) == 0
    assert f"multiply-adds unknown ({reason})\n" in capsys.readouterr().out


def test_what_is_out_of_reach_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = foreign_onnx(size=("height", 8))
    node, float32 = onnx.helper.make_node, onnx.TensorProto.FLOAT
    body = onnx.helper.make_graph(
        [node("Neg", ["pool"], ["inner"])], "body", [], [onnx.helper.make_tensor_value_info("inner", float32, None)]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "true"))
    model.graph.node.extend(
        [
            node("SplitToSequence", ["pool"], ["pieces"]),
            node("Cast", ["pool"], ["brief"], to=onnx.TensorProto.BFLOAT16),
            node("If", ["true"], ["chosen"], then_branch=body, else_branch=body),
        ]
    )
    onnx.save(model, tmp_path / "m.onnx")
    assert main(["check", str(tmp_path / "m.onnx")]) == 0
    said = capsys.readouterr().out
    for fact in (
        "free      axis 0 of x (N), axis 2 of x (height)\n",
        "every layer of it by name but 'pieces' (sequence), 'brief' (bfloat16), which no answer can hold\n",
        "not show what is inside If: 2 nodes, none of them a layer\n",
    ):
        assert fact in said


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
    assert {path.name for path in (tmp_path / "models" / "theirs" / "1").iterdir()} == {
        "model.onnx",
        "m.data",
        "card.json",
    }


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
        (["{signal}", "--picture", "{file}"], "the model takes a signal, not a picture"),
    ],
)
def test_a_refusal_is_one_line(
    file: Path, tmp_path: Path, arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(foreign_onnx(size=("h", "w")), tmp_path / "free.onnx")
    onnx.save(signal_onnx(), tmp_path / "signal.onnx")
    others = {name: tmp_path / f"{name}.onnx" for name in ("free", "signal")}
    filled = [argument.format(file=file, **others) for argument in arguments]
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
