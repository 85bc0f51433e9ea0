"""Your own pictures, from the folder to a served model; and starting from trained weights."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torchvision import models

from service.errors import InvalidRequest
from tests.training.conftest import FASHION
from tests.training.pictures import pets
from training.__main__ import REFUSED, main
from training.config import RECIPES, Recipe
from training.data.examples import Task
from training.data.folder import own_pictures
from training.export import MODEL, WEIGHTS, card_of
from training.networks.pretrained import Backbone, known_backbones, pretrained_weights
from training.networks.table import build
from training.runs import read
from training.starting import Start, head_of, start_from_model

QUICK = ["--width", "4", "--size", "16", "--epochs", "2", "--shift", "1"]


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    return ["--runs", str(tmp_path / "runs"), "--models", str(tmp_path / "models")]


def test_a_folder_becomes_a_model(places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--folder", str(pets(tmp_path / "pets", "red", "green", "blue"))]
    assert main(["train", "colours", *folder, *places, *QUICK, "--export"]) == 0
    said = capsys.readouterr().out
    assert "48 examples to learn from, 12 to choose by" in said
    card = card_of(tmp_path / "models/colours/1" / MODEL)
    assert (card.labels, card.task) == (("blue", "green", "red"), "multiclass")
    assert (card.input.size, card.input.fit) == ((16, 16), "crop")
    assert card.provenance is not None
    assert card.provenance.licence == "unknown: your own pictures"
    assert card.provenance.command.startswith("python -m training train colours --folder DIR --width 4 --size 16 ")
    assert str(tmp_path) not in card.model_dump_json()
    assert main(["export", "colours", *folder, *places]) == 0
    assert main(["evaluate", "colours", *folder, *places]) == 0
    assert main(["evaluate", *folder, *places, "--run", str(tmp_path / "runs/colours/1")]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("accuracy")]
    assert len(set(shown)) == 1
    assert shown[0] in said


def test_a_run_is_exported_under_its_own_name(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--folder", str(pets(tmp_path / "pets", "red", "green"))]
    assert main(["train", "colours", *folder, *places, *QUICK, "--epochs", "1"]) == 0
    (tmp_path / "runs/colours").rename(tmp_path / "elsewhere")
    run = ["--run", str(tmp_path / "elsewhere/1")]
    for command in ("export", "evaluate"):
        assert main([command, "fashion-mnist", *folder, *places, *run]) == REFUSED
        assert "1 is a run of colours, not of fashion-mnist: leave the name out" in capsys.readouterr().err
    assert main(["export", *folder, *places, *run]) == 0
    assert (tmp_path / "models/colours/1" / MODEL).is_file()


def test_two_classes_make_a_yes_or_no_question(places: list[str], tmp_path: Path) -> None:
    folder = str(pets(tmp_path / "pets", "red", "green"))
    assert main(["train", "--folder", folder, *places, *QUICK, "--held-out", "4", "--export"]) == 0
    card = card_of(tmp_path / "models/folder/1" / MODEL)
    assert (card.labels, card.task, card.outputs) == (("green", "red"), "binary", 1)
    assert read(tmp_path / "runs/folder/1").recipe.held_out == 4


def test_another_models_weights_are_begun_with(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = pets(tmp_path / "a", "red", "green", "blue"), pets(tmp_path / "b", "red", "blue")
    assert main(["train", "first", "--folder", str(first), *places, *QUICK, "--export"]) == 0
    begin = ["--from", str(tmp_path / "models/first")]
    assert main(["train", "second", "--folder", str(second), *begin, *places, "--epochs", "1", "--export"]) == 0
    assert "beginning with first/1 (weights' sha256" in capsys.readouterr().out
    run = read(tmp_path / "runs/second/1")
    assert (run.recipe.width, run.recipe.size, run.recipe.network) == (4, 16, "whitened")
    assert run.recipe.learning_rate < RECIPES["folder"].learning_rate
    provenance = card_of(tmp_path / "models/second/1" / MODEL).provenance
    assert provenance is not None
    assert "--folder DIR --from models/first/1 " in provenance.command
    for flag in ("--network whitened", "--width 4", "--size 16", "--learning-rate 0.05", "--bias-rate 1.0"):
        assert f"{flag} " in provenance.command
    assert "  # began with first/1 (weights' sha256 " in provenance.command
    assert str(tmp_path) not in provenance.command


def base(tmp_path: Path, places: list[str]) -> Path:
    folder = str(pets(tmp_path / "base", "red", "green", "blue"))
    assert main(["train", "base", "--folder", folder, *places, *QUICK, "--epochs", "1", "--export"]) == 0
    return tmp_path / "models/base/1"


def test_all_weights_but_the_heads_are_taken_over(places: list[str], tmp_path: Path) -> None:
    version = base(tmp_path, places)
    start, weights = start_from_model(version), load_file(version / WEIGHTS)
    recipe = start.recipe_for(RECIPES["folder"], {})
    taken = start.fitted(recipe, Task(("a", "b"), own_pictures(16), (0.5,) * 3, (0.5,) * 3))
    assert set(weights) - set(taken) == {"head.weight"}
    assert all(torch.equal(taken[name], weights[name]) for name in taken)
    assert "input.scaled.mean" in taken


def test_flags_win_over_what_is_taken_over() -> None:
    start = Start("--from models/x/1", "x/1", {}, Recipe(width=8, learning_rate=0.5, batch=64), FASHION.task.input)
    taken = start.recipe_for(RECIPES["folder"], {})
    assert (taken.network, taken.width, taken.size, taken.learning_rate) == ("plain", 8, 28, 0.125)
    given = start.recipe_for(Recipe(data="folder", width=3, learning_rate=0.9), {"width": 3, "learning_rate": 0.9})
    assert (given.width, given.learning_rate) == (3, 0.9)


def test_weights_of_another_shape_are_one_line(places: list[str], tmp_path: Path) -> None:
    start = start_from_model(base(tmp_path, places))
    recipe = Recipe(network="whitened", width=9)
    with pytest.raises(InvalidRequest, match=r"of width 9: stage1\.conv1\.weight is \(4, .*, not \(9,") as caught:
        start.fitted(recipe, Task(("a", "b"), own_pictures(16), (0.5,) * 3, (0.5,) * 3))
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidRequest, match=r"takes 3 channel\(s\), the data has 1"):
        start.fitted(recipe, FASHION.task)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "folder"], "name their folder with --folder"),
        (["train", "--folder", "nowhere"], "there is no folder nowhere"),
        (["train", "cifar10", "--folder", "PETS"], "cifar10 is the name of a recipe for other data"),
        (["train", "../pets", "--folder", "PETS"], "'../pets' is no name for a model"),
        (
            ["train", "--folder", "PETS", "--data", "mnist"],
            "--folder is for your own pictures, and this is about mnist",
        ),
        (["train", "--folder", "PETS", "--held-out", "40"], "--held-out 40 leaves nothing to learn from"),
        (["train", "--folder", "PETS", "--size", "4"], "--shift 4 moves pictures of 4 x 4 out of sight"),
        (["train", "--folder", "PETS", "--size", "5"], "cannot learn from batches of 32 to 32 inputs of 5 x 5"),
        (["train", "--folder", "PETS", "--network", "plain", "--size", "7"], "three times"),
        (["train", "--folder", "PETS", "--from", "nowhere"], "nowhere holds nothing yet"),
        (["train", "--folder", "PETS", "--pretrained"], "--pretrained is for --network torchvision:NAME, not"),
        (["train", "--folder", "PETS", "--from", "x", "--pretrained"], "choose one"),
        (["train", "--folder", "PETS", "--network", "torchvision:resnet"], "unknown network of torchvision 'resnet'"),
        (
            ["train", "--folder", "PETS", "--network", "torchvision:vit_b_16"],
            "Wrong image height! Expected 224 but got 64",
        ),
        (["train", "--folder", "PETS", "--network", "torchvision:resnet18", "--width", "8"], "has a width of its own"),
        (["train", "mnist", "--size", "64"], "--size is of your own pictures (--folder); mnist has a size of its own"),
        (["train", "--seeds", f"1,{2**63}"], "none above 9223372036854775807, as 1,2,3, not 1,9223372036854775808"),
        (["evaluate", "--run", "nowhere", "--version", "1"], "give one of the two"),
        (["export", "pets", "--folder", "PETS"], "unknown recipe 'pets'"),
    ],
)
def test_what_does_not_fit_is_one_line_before_the_first_epoch(
    places: list[str], arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pets(tmp_path / "pets", "red", "green")
    words = [str(tmp_path / "pets") if word == "PETS" else word for word in arguments]
    assert main([*words, *places]) == REFUSED
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_model_learnt_from_pictures_wants_the_same_classes(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base(tmp_path, places)
    other = pets(tmp_path / "other", "red", "green")
    assert main(["evaluate", "base", *places, "--folder", str(other)]) == REFUSED
    assert "the network knows 'blue', 'green', 'red'" in capsys.readouterr().err
    assert main(["evaluate", "base", *places]) == REFUSED
    assert "name their folder with --folder" in capsys.readouterr().err


@pytest.mark.parametrize("colour", ["RGB", "GREY"])
def test_torchvisions_networks_get_a_head_of_their_own(colour: str) -> None:
    card = own_pictures(32).model_copy(update={"colour": colour, "channels": 3 if colour == "RGB" else 1})
    task = Task(("a", "b", "c"), card, (0.5,) * card.channels, (0.5,) * card.channels)
    network = build(Recipe(network="torchvision:mobilenet_v3_small"), task).eval()
    logits = network(torch.zeros(2, *card.shape, dtype=torch.uint8))
    assert (logits.shape, logits.dtype) == ((2, 3), torch.float32)
    assert head_of(network) == "backbone.classifier.3"
    assert not any(getattr(module, "inplace", False) for module in network.modules())


def test_networks_that_cannot_be_trained_or_read_again_are_left_out() -> None:
    assert {"resnet18", "mobilenet_v3_small", "vit_b_16"} <= set(known_backbones())
    assert not {"googlenet", "inception_v3", "mnasnet0_5", "fcn_resnet50", "raft_small"} & set(known_backbones())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's cache of downloads, empty; nothing can be downloaded."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    return tmp_path / "hub/checkpoints"


def test_pretrained_weights_that_cannot_be_had_are_one_line(
    places: list[str], hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(pets(tmp_path / "pets", "red", "green"))
    network = ["--network", "torchvision:mobilenet_v3_small", "--pretrained"]
    assert main(["train", "--folder", folder, *places, *network]) == REFUSED
    said = capsys.readouterr().err
    assert "MobileNet_V3_Small_Weights.IMAGENET1K_V1 cannot be had (no route): put mobilenet_v3_small-" in said
    assert str(hub) in said
    assert said.count("\n") == 1


def test_pretrained_weights_are_begun_with_and_their_figures_with_them(hub: Path) -> None:
    torch.manual_seed(1)
    published = models.resnet18()
    file = models.ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[-1]
    torch.save(published.state_dict(), hub / file)
    weights, origin = pretrained_weights("torchvision:resnet18")
    assert origin == "ResNet18_Weights.IMAGENET1K_V1"
    task = Task(("a", "b", "c"), own_pictures(32), (0.1,) * 3, (0.1,) * 3)
    recipe = Recipe(network="torchvision:resnet18")
    begin = Start("--pretrained", origin, weights).fitted(recipe, task)
    network = build(recipe, task)
    assert isinstance(network, Backbone)
    network.load_state_dict(begin, strict=False)
    assert torch.equal(network.backbone.get_parameter("conv1.weight"), published.conv1.weight)
    assert network.backbone.get_parameter("fc.weight").shape == (3, 512)
    mean = network.get_submodule("input.scaled").get_buffer("mean").flatten().tolist()
    assert mean == pytest.approx([255 * value for value in (0.485, 0.456, 0.406)])


def test_weights_published_under_older_names_are_begun_with(hub: Path) -> None:
    published = models.densenet121()
    older = {
        re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", name): value for name, value in published.state_dict().items()
    }
    older = {name: value for name, value in older.items() if not name.endswith("num_batches_tracked")}
    assert older.keys() - published.state_dict().keys()
    torch.save(older, hub / models.DenseNet121_Weights.DEFAULT.url.rsplit("/", 1)[-1])
    weights, _ = pretrained_weights("torchvision:densenet121")
    name = "features.denseblock1.denselayer1.conv1.weight"
    assert torch.equal(weights[f"backbone.{name}"], published.get_parameter(name))
