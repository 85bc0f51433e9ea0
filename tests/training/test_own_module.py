"""Any nn.Module becomes a model folder that proves itself, and is served."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient
from PIL import Image
from safetensors.torch import load_file, save_file

from service.app import create_app
from service.inference.contract.card import ModelCard
from service.settings import Settings
from tests.service.gate import until
from tests.training import makers
from tests.training.pictures import filled
from tests.training.small_data import Harmful
from training.__main__ import REFUSED, main
from training.evaluate import by_onnx
from training.export import MODEL, WEIGHTS, card_of

MAKERS = "tests.training.makers"
FIGURES = ["--mean", "0.485", "0.456", "0.406", "--std", "0.229", "0.224", "0.225"]


def labels_in(folder: Path, *labels: str) -> str:
    (folder / "labels.txt").write_text("\n".join(labels) + "\n", "utf-8")
    return str(folder / "labels.txt")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that holds torchvision's resnet18, exported by the command."""
    folder = tmp_path_factory.mktemp("own")
    save_file(makers.resnet().state_dict(), folder / "w.safetensors")
    words = ["--module", f"{MAKERS}:resnet", "--weights", str(folder / "w.safetensors"), "--name", "resnet"]
    words += ["--labels", labels_in(folder, "Katze", "Hund", "猫"), "--size", "40x32", *FIGURES]
    assert main(["export", *words, "--models", str(folder / "models")]) == 0
    return folder / "models"


@pytest.fixture(scope="module")
def card(models: Path) -> ModelCard:
    return card_of(models / "resnet/1" / MODEL)


def test_the_file_takes_pixels_and_answers_as_the_module_does(models: Path) -> None:
    pixels = np.random.default_rng(8).integers(0, 256, (3, 40, 32, 3), dtype=np.uint8)
    mean, std = (torch.tensor([float(value) for value in FIGURES[at : at + 3]]) for at in (1, 5))
    planes = ((torch.from_numpy(pixels) / 255 - mean) / std).movedim(-1, 1)
    with torch.inference_mode():
        expected = makers.resnet().eval()(planes).softmax(1).numpy()
    assert np.abs(by_onnx(models / "resnet/1" / MODEL)(pixels) - expected).max() <= 1e-5


def test_the_card_proves_the_file(models: Path, card: ModelCard) -> None:
    assert (card.task, card.labels) == ("multiclass", ("Katze", "Hund", "猫"))
    assert card.input.shape == (40, 32, 3)
    assert card.parity is not None
    assert card.parity.largest_difference <= 1e-4
    assert card.evaluation is None
    assert len(card.golden) == 4
    assert card.provenance is not None
    assert card.provenance.command.startswith(f"python -m training export --module {MAKERS}:resnet --weights FILE")
    assert str(models.parent) not in card.model_dump_json()
    weights = load_file(models / "resnet/1" / WEIGHTS)
    assert all(torch.equal(weights[name], value) for name, value in makers.resnet().state_dict().items())


def test_layers_bear_the_modules_names(models: Path) -> None:
    names = {node.name for node in onnx.load(models / "resnet/1" / MODEL).graph.node}
    assert {"bn1", "relu", "maxpool", "layer1.0.bn1", "layer1.0.add", "layer4.1.relu", "avgpool", "fc"} <= names
    assert not [name for name in names if name.startswith("_")]


async def test_it_is_served_with_its_labels(models: Path) -> None:
    app = create_app(Settings(models=models))
    stream = io.BytesIO()
    Image.new("RGB", (50, 60), "red").save(stream, "PNG")
    async with LifespanManager(app), AsyncClient(transport=ASGITransport(app), base_url="http://service") as client:
        await until(lambda: app.state.services.repository.loaded)
        answer = await client.post(
            "/v1/models/resnet/predict", content=stream.getvalue(), headers={"Content-Type": "image/png"}
        )
        layers = await client.get("/v1/models/resnet/layers")
    assert {row["label"] for row in answer.json()["predictions"][0]["classes"]} == {"Katze", "Hund", "猫"}
    assert "layer2.0.downsample.1" in {row["name"] for row in layers.json()["layers"]}


def test_measuring_it_needs_a_recipe_that_it_does_not_have(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "resnet", "--models", str(models)]) == REFUSED
    assert "was exported from tests.training.makers:resnet" in capsys.readouterr().err


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., int]:
    def run(maker: str, *flags: str, labels: tuple[str, ...] = ("a", "b", "c")) -> int:
        places = ["--labels", labels_in(tmp_path, *labels), "--name", "own", "--models", str(tmp_path / "models")]
        return main(["export", "--module", f"{MAKERS}:{maker}", "--size", "8x8", *places, *flags])

    return run


def test_one_score_for_two_labels_is_a_yes_or_no_question(export: Callable[..., int], tmp_path: Path) -> None:
    assert export("one_score", labels=("no", "yes")) == 0
    card = card_of(tmp_path / "models/own/1" / MODEL)
    assert (card.task, card.outputs) == ("binary", 1)
    answer = by_onnx(tmp_path / "models/own/1" / MODEL)(np.zeros((2, 8, 8, 3), np.uint8))
    with torch.inference_mode():
        assert answer[:, 0] == pytest.approx(makers.one_score()(torch.zeros(2, 3, 8, 8)).sigmoid()[:, 0].numpy())


def test_probabilities_are_left_as_they_are(export: Callable[..., int], tmp_path: Path) -> None:
    assert export("sure", "--probabilities") == 0
    answer = by_onnx(tmp_path / "models/own/1" / MODEL)(np.zeros((2, 8, 8, 3), np.uint8))
    with torch.inference_mode():
        assert answer == pytest.approx(makers.sure()(torch.zeros(2, 3, 8, 8)).numpy(), abs=1e-6)


def test_tied_weights_are_kept_under_both_names(export: Callable[..., int], tmp_path: Path) -> None:
    assert export("tied") == 0
    kept = load_file(tmp_path / "models/own/1" / WEIGHTS)
    assert torch.equal(kept["2.weight"], kept["3.weight"])


def test_layers_of_truth_values_and_infinities_are_compared_too(export: Callable[..., int], tmp_path: Path) -> None:
    assert export("masked") == 0
    names = {node.name for node in onnx.load(tmp_path / "models/own/1" / MODEL).graph.node}
    assert any(name.startswith("3.above") for name in names)


def test_a_module_of_signals(export: Callable[..., int], tmp_path: Path) -> None:
    assert export("of_signals", "--kind", "signal", "--size", "20", "--channels", "2") == 0
    card = card_of(tmp_path / "models/own/1" / MODEL)
    assert (card.input.shape, card.input.dtype) == ((20, 2), "float32")


def test_it_is_proved_on_pictures_where_there_are_some(
    export: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path / "pictures/red", 3, seed=1, colour="red")
    assert export("small", "--pictures", str(tmp_path / "pictures")) == 0
    assert "on 3 pictures" in capsys.readouterr().out
    golden = card_of(tmp_path / "models/own/1" / MODEL).golden
    assert len(golden) == 3
    assert golden[0].array("uint8").mean(axis=(0, 1)).argmax() == 0


@pytest.mark.parametrize("nested", ["state_dict", "model", None])
def test_a_checkpoint_of_torch_is_read(export: Callable[..., int], tmp_path: Path, nested: str | None) -> None:
    torch.manual_seed(9)
    values = {f"module.{name}": torch.randn_like(value) for name, value in makers.small().state_dict().items()}
    torch.save({nested: values, "epoch": 3} if nested else values, tmp_path / "w.pt")
    assert export("small", "--weights", str(tmp_path / "w.pt")) == 0
    kept = load_file(tmp_path / "models/own/1" / WEIGHTS)
    assert torch.equal(kept["0.weight"], values["module.0.weight"])


def test_a_checkpoint_that_wants_to_run_something_is_refused(
    export: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"state_dict": Harmful()}, tmp_path / "w.pt")
    monkeypatch.chdir(tmp_path)
    assert export("small", "--weights", str(tmp_path / "w.pt")) == REFUSED
    assert "cannot be read as weights" in capsys.readouterr().err
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("maker", "flags", "sentence"),
    [
        ("absent", [], "makers:absent cannot be made: AttributeError"),
        ("broken", [], "makers:broken cannot be made: RuntimeError: out of order"),
        ("text", [], "makes a str, not a torch.nn.Module"),
        ("several", [], "yields a tuple, not one tensor"),
        ("planes", [], "not a row of scores per input"),
        ("undecided", [], "no finite numbers"),
        ("one_score", [], "yields 1 score(s) per input, and there are 3 labels"),
        ("small", ["--size", "2x2"], "the module fails on float32 [2, 3, 2, 2]: "),
        ("small", ["--colour", "GREY"], "the module fails on float32 [2, 1, 8, 8]: "),
        ("small", ["--probabilities"], "the module's scores are none"),
        ("small", ["--mean", "0.5"], "--mean needs one value per channel, 3, not 1"),
        ("small", ["--std", "1", "0", "1"], "--std must be above 0"),
        ("small", ["--size", "8"], "an input of kind image has 2 extents, not 1"),
        ("small", ["--size", "big"], "--size must be extents such as 224x224, not big"),
        ("small", ["--name", "a/b"], "'a/b' is no name for a model"),
        ("small", ["--labels", "absent.txt"], "absent.txt cannot be read as labels"),
        ("small", ["--weights", "absent.pt"], "there is no file absent.pt"),
        ("small", ["--weights", __file__], "cannot be read as weights"),
        ("small", ["--pictures", "absent"], "no picture in absent can be read"),
        ("small", ["--version", "0"], "--version must be at least 1"),
        ("small", ["--run", "runs/1"], "leave out --run and --folder"),
        ("choosy", [], "tests.training.makers:choosy cannot be exported: "),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    export: Callable[..., int],
    maker: str,
    flags: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(maker, *flags) == REFUSED
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_a_module_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rest = ["--labels", labels_in(tmp_path, "a", "b"), "--name", "own"]
    for source, sentence in (
        ("nowhere.at.all:make", "cannot be made: ModuleNotFoundError: No module named 'nowhere'"),
        ("nowhere", "--module must be package.module:make, not nowhere"),
    ):
        assert main(["export", "--module", source, *rest]) == REFUSED
        assert sentence in capsys.readouterr().err
    assert main(["export", "--module", "a:b"]) == REFUSED
    assert "--module needs --labels FILE and --name MODEL" in capsys.readouterr().err


def test_weights_that_do_not_fit_are_named(
    export: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = makers.small(5).state_dict()
    del values["0.bias"]
    save_file({**values, "extra": torch.zeros(1)}, tmp_path / "w.safetensors")
    assert export("small", "--weights", str(tmp_path / "w.safetensors")) == REFUSED
    said = capsys.readouterr().err
    assert "it lacks 0.bias; it has also extra; 4.weight and 1 more is [5, 4] instead of [3, 4]" in said


@pytest.mark.parametrize("content", [b"", b"one\n", b"a\n\nb\n", b"\xff\xfe a\nb\n"])
def test_labels_that_are_none_are_one_line(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "l.txt").write_bytes(content)
    assert main(["export", "--module", "a:b", "--labels", str(tmp_path / "l.txt"), "--name", "own"]) == REFUSED
    said = capsys.readouterr().err
    assert "l.txt" in said
    assert said.count("\n") == 1
