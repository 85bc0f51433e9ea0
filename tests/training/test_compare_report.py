"""The command and its report: every number on the page is the JSON's, and what does not hold is not written."""

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from PIL import Image

from training.__main__ import REFUSED, main
from training.commands.places import INTERRUPTED
from training.compare import trainings
from training.compare.figures import Figures
from training.compare.outcome import floor, lead, lost, price, worth
from training.compare.phrases import difference, judged, lesson, listed, paragraph, spread
from training.compare.plots import PLOTS, grown, shifted
from training.compare.report import JSON, PICTURES, REPORT, report
from training.compare.trainings import DONE
from training.config import RECIPES, overridden
from training.derive.proof import UNPROVED
from training.export import MODEL, exported_recipe
from training.runs import read

DOCS = Path(__file__).parents[2] / "docs"
FLAGS = ["--width", "2", "--epochs", "1", "--held-out", "40", "--batch", "64", "--seeds", "1,2", "--judged", "20"]


@pytest.fixture(scope="module")
def places(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("compare")
    return ["--data-dir", str(data_dir), "--runs", str(folder / "runs"), "--write", str(folder / "docs")]


@pytest.fixture(scope="module")
def docs(places: list[str]) -> Path:
    assert main(["compare", "fashion-mnist", *places, *FLAGS]) == 0
    return Path(places[-1])


@pytest.fixture(scope="module")
def figures(docs: Path) -> Figures:
    return Figures.model_validate_json((docs / PICTURES / JSON).read_text())


def cells(text: str, section: str) -> dict[str, list[str]]:
    """The rows of the last table in a section, by their first cell."""
    [body] = re.findall(rf"^## {section}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def test_the_page_is_written_with_all_that_it_links_to(docs: Path) -> None:
    text = (docs / REPORT).read_text()
    headings = re.findall("^#+ (.*)$", text, re.MULTILINE)
    assert headings == [
        "Dense against convolutional, measured",
        "What the second gains",
        "What is fair, and what is not",
        "Accuracy",
        "The picture shifted",
        "A patch covered",
        "What is exact",
        "What is learnt",
        "Larger pictures",
        "What this does not show",
    ]
    linked = {target for target in re.findall(r"\]\(([^)]+)\)", text) if target.startswith(PICTURES)}
    assert linked == {f"{PICTURES}/{name}" for name in (*PLOTS, JSON)}
    for name in PLOTS:
        with Image.open(docs / PICTURES / name) as plot:
            assert plot.size == ((770, 440) if name == "parameters.png" else (990, 440))
            assert "Software" not in plot.info
    assert max(map(len, text.splitlines())) <= 160
    assert str(docs) not in text + (docs / PICTURES / JSON).read_text()


def test_the_page_is_made_of_the_json_alone(docs: Path, figures: Figures) -> None:
    assert (docs / REPORT).read_text() == report(figures)


def test_the_tables_say_what_the_json_says(docs: Path) -> None:
    text, known = (docs / REPORT).read_text(), json.loads((docs / PICTURES / JSON).read_text())

    def of(network: str, variant: str) -> list[dict[str, Any]]:
        return [each for each in known["trainings"] if (each["network"], each["variant"]) == (network, variant)]

    columns = [(network, variant) for network in ("dense", "convolutional") for variant in ("untaught", "taught")]
    assert [len(of(*each)) for each in columns] == [2] * 4
    for section, what, across in (
        ("The picture shifted", "shifted", "distances"),
        ("A patch covered", "covered", "sides"),
    ):
        rows = cells(text, section)
        for at, abscissa in enumerate(known[across]):
            if str(abscissa) in rows:
                means = [mean(value for each in of(*column) for value in each[what][at]) for column in columns]
                assert [float(cell) for cell in rows[str(abscissa)]] == pytest.approx(
                    [100 * each for each in means], abs=0.051
                )
        assert {"0", str(known[across][-1])} <= set(rows)
    for variant, said in (("untaught", "not taught"), ("taught", "taught")):
        for network, cell in zip(("dense", "convolutional"), cells(text, "Accuracy")[said], strict=True):
            rates = [100 * each["accuracy"] for each in of(network, variant)]
            stated = [float(number) for number in re.findall(r"[\d.]+", cell)]
            assert stated == pytest.approx([mean(rates), min(rates), max(rates)], abs=0.0051)
    costs = [known["contenders"][name]["cost"] for name in ("dense", "convolutional")]
    fair = cells(text, "What is fair, and what is not")
    for variant, said in (("untaught", "not taught"), ("taught", "taught")):
        for network, cell in zip(("dense", "convolutional"), fair[f"seconds for one training, {said}"], strict=True):
            seconds = [each["seconds"] for each in of(network, variant)]
            stated = [float(number) for number in re.findall(r"\d+", cell)]
            assert stated == pytest.approx([mean(seconds), min(seconds), max(seconds)], abs=0.51)
    way, at = known["directions"].index([-1, 1]), known["distances"].index(4)
    assert [float(cell) for cell in cells(text, "The picture shifted")["up and right"]] == pytest.approx(
        [100 * mean(each["shifted"][at][way] for each in of(*column)) for column in columns], abs=0.051
    )
    assert fair["parameters"] == [f"{each['parameters']:,}" for each in costs]
    assert fair["multiply-adds of convolutions and dense layers, per picture"] == [
        f"{each['multiply_adds']:,}" for each in costs
    ]
    grows = cells(text, "Larger pictures")
    assert grows["3000×4000×3"][:2] == ["3,600,000,000", "14.4 GB"]
    for each in known["sizes"]:
        row = grows[f"{each['height']}×{each['width']}×{each['channels']}"]
        alone = each["convolutional"]["parameters"] - each["convolutional"]["dense"]
        counts = [each["hundred"], each["dense"]["parameters"], each["convolutional"]["parameters"], alone]
        assert [row[0], *row[2:]] == [f"{count:,}" for count in counts]


def test_the_layers_stand_with_what_is_exact_and_what_is_not(docs: Path, figures: Figures) -> None:
    rows = cells((docs / REPORT).read_text(), "What is exact")
    assert rows["`stem.pool`"][:3] == ["2", "4×4", "2"]
    for layer in figures.layers:
        for cell, each in zip(rows[f"`{layer.name}`"][3:], layer.compared, strict=True):
            assert cell.startswith("*") == bool(each.pixels % layer.step)


def test_the_command_on_the_page_is_the_one_that_was_given(docs: Path) -> None:
    [command] = re.findall("^```sh\n(.*)\n```$", (docs / REPORT).read_text(), re.MULTILINE)
    assert command.startswith("python -m training compare fashion-mnist --")
    given = command.split()[4:]
    pairs = {tuple(given[at : at + 2]) for at in range(1, len(given), 2)}
    assert pairs == {tuple(FLAGS[at : at + 2]) for at in range(0, len(FLAGS), 2)}


def test_what_was_trained_is_not_trained_again_unless_it_was_something_else(
    docs: Path, places: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[object] = []

    def watched(*arguments: object) -> object:
        calls.append(arguments)
        return one(*arguments)  # type: ignore[arg-type]

    one = trainings.one_training
    monkeypatch.setattr(trainings, "one_training", watched)
    before = (docs / REPORT).read_text()
    assert main(["compare", *places, *FLAGS]) == 0
    assert (calls, (docs / REPORT).read_text()) == ([], before)
    kept = Path(places[3]) / "compare-fashion-mnist" / "dense-taught-1" / DONE
    kept.write_text("cut off")
    elsewhere = [*places[:-1], str(tmp_path)]
    assert main(["compare", *elsewhere, *FLAGS]) == 0
    assert len(calls) == 1
    assert main(["compare", *elsewhere, *FLAGS, "--seeds", "1", "--judged", "10"]) == 0
    assert len(calls) == 1 + 4
    assert "one run each, with one seed" in (tmp_path / REPORT).read_text()


def test_a_training_can_be_exported_by_the_name_of_its_recipe(
    docs: Path, places: list[str], figures: Figures, tmp_path: Path
) -> None:
    assert docs.is_dir()
    for number, (network, contender) in enumerate(figures.contenders.items(), 1):
        folder = Path(places[3]) / "compare-fashion-mnist" / f"{network}-taught-2"
        run = read(folder)
        asked = {"width": contender.width, "network": contender.network, "seed": 2, "epochs": 1, "held_out": 40}
        assert run.recipe == overridden(RECIPES["fashion-mnist"], asked | {"batch": 64})
        assert main(["export", *places[:2], "--models", str(tmp_path), "--run", str(folder)]) == 0
        assert exported_recipe(tmp_path / "fashion-mnist" / str(number) / MODEL) == run.recipe


def test_where_the_claim_does_not_hold_nothing_is_written(
    docs: Path, places: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert docs.is_dir()
    monkeypatch.setattr("training.compare.equivariance.TOLERANCE", -1.0)
    assert main(["compare", *places[:-1], str(tmp_path / "docs"), *FLAGS]) == UNPROVED
    assert "error: maps do not shift along with the picture: stem.conv" in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            ["--seeds", "1,1"],
            "--seeds wants different seeds from 0 on, at least 1, none above ",
        ),
        (["--seed", "2"], "--seed is about one: give --seeds"),
        (["--judged", "-1"], "--judged must be at least 1, not -1"),
        (["--network", "dense"], "--network must be a convolutional one"),
        (["--shift", "0", "--erase", "0"], "--shift and --erase are both 0"),
        (["--held-out", "200"], "--held-out 200 leaves nothing to learn from"),
        (["--network", "plane"], "unknown network 'plane'"),
        (["--network", "torchvision:mobilenet_v3_small", "--held-out", "40"], "sees the whole sheet"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--shift", "28", "--held-out", "40"], "--shift 28 moves pictures of 28 x 28 out of sight"),
    ],
)
def test_a_refusal_is_one_line_and_leaves_nothing(
    data_dir: Path, tmp_path: Path, flags: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--data-dir", str(data_dir), "--runs", str(tmp_path / "runs"), "--write", str(tmp_path / "docs")]
    assert main(["compare", *places, *flags]) == REFUSED
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert sentence in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["modelnet10", "mnist1d"])
def test_only_pictures_are_compared(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", name, "--runs", str(tmp_path / "runs")]) == REFUSED
    assert capsys.readouterr().err == f"error: compare shifts and covers pictures, and {name} holds none\n"


def test_a_comparison_that_is_cut_short_says_so(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainings, "one_training", stopped)
    places = ["--data-dir", str(data_dir), "--runs", str(tmp_path / "runs"), "--write", str(tmp_path / "docs")]
    assert main(["compare", *places, *FLAGS]) == INTERRUPTED
    assert not (tmp_path / "docs").exists()


def test_the_plot_of_sizes_shows_a_line_for_each_column(figures: Figures) -> None:
    axes = grown(figures).axes[0]
    drawn = [list(line.get_ydata()) for line in axes.get_lines() if line.get_marker() == "o"]  # type: ignore[arg-type]
    assert drawn[0] == [size.hundred for size in figures.sizes]
    assert drawn[1] == [size.dense.parameters for size in figures.sizes]
    assert drawn[2] == [size.convolutional.parameters for size in figures.sizes]
    assert drawn[3] == [size.convolutional.parameters - size.convolutional.dense for size in figures.sizes]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_what_is_unfair_is_said_where_it_is_so(figures: Figures) -> None:
    said = "Only the convolutional network normalises between layers.", "both variants are mirrored"
    assert all(each in " ".join(report(figures).split()) for each in said)
    dense = figures.contenders["convolutional"]
    other = figures.model_copy(update={"flip": 0, "contenders": {"dense": dense, "convolutional": dense}})
    assert not any(each in " ".join(report(other).split()) for each in said)


def test_what_teaching_added_is_beyond_what_it_changed_for_pictures_as_they_are(figures: Figures) -> None:
    kept = {"untaught": ((0.8,), *[(0.5,)] * 8), "taught": ((0.9,), *[(0.7,)] * 8)}
    trainings = [each.model_copy(update={"shifted": kept[each.variant]}) for each in figures.trainings]
    assert worth(figures.model_copy(update={"trainings": trainings}), "shifted", "dense", 4) == "+10.0"
    assert lesson(figures) == "shifting and covering the training pictures, both at once,"
    assert lesson(figures.model_copy(update={"erase": 0})) == "shifting the training pictures"
    assert judged(figures) == "The first 20 test pictures"
    assert judged(figures.model_copy(update={"judged_on": figures.tested_on})) == "All 60 test pictures"


def made(figures: Figures, dense: tuple[float, float], convolutional: tuple[float, float]) -> Figures:
    """The figures as if the networks were right on these shares, not taught and taught, of pictures in any state."""
    rates = {"dense": dense, "convolutional": convolutional}
    trainings = []
    for each in figures.trainings:
        rate = rates[each.network][each.variant == "taught"]
        kept = {"accuracy": rate, "shifted": ((rate,),) * 9, "covered": ((rate,),) * 11}
        trainings.append(each.model_copy(update=kept))
    return figures.model_copy(update={"trainings": tuple(trainings)})


def test_sentences_hold_however_it_went(figures: Figures) -> None:
    better, worse = made(figures, (0.5, 0.4), (0.6, 0.7)), made(figures, (0.5, 0.6), (0.4, 0.6))
    assert (
        lead(better)
        == "The convolutional network is ahead everywhere; most, by 30.0 points, on pictures as they are (taught)."
    )
    assert lead(worse) == "The convolutional network is ahead nowhere."
    assert price(better).startswith(
        "Teaching has its price: in one epoch, on pictures as they are, it lowers the accuracy of"
    )
    assert "raises the accuracy of the convolutional network from 60.00 to 70.00" in price(better)
    assert price(worse).startswith("Teaching costs nothing here")
    assert "keeps the accuracy of the dense network at 50.00 and" in price(made(figures, (0.5, 0.5), (0.4, 0.6)))
    assert lost(better, "shifted").endswith("the convolutional one 0.0, 0.0 and 0.0: as much at 2, 4 and 8.")
    assert floor(better, "shifted") == ""


def test_losses_are_told_in_the_middle_and_who_is_near_guessing_at_the_end(figures: Figures) -> None:
    far = {"dense": (0.9, 0.9, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3, 0.2), "convolutional": (0.9,) * 4 + (0.6,) * 4 + (0.1,)}
    fallen = tuple(
        each.model_copy(update={"shifted": tuple((a,) for a in far[each.network])}) for each in figures.trainings
    )
    assert lost(figures.model_copy(update={"trainings": fallen}), "shifted") == (
        "At 2, 4 and 8 pixels the dense network that was not taught has lost 40.0, 60.0 and 70.0 points of what it had "
        "at 0, the convolutional one 0.0, 30.0 and 80.0: less at 2 and 4, more at 8."
    )
    assert floor(figures.model_copy(update={"trainings": fallen}), "shifted").startswith(
        "At 8 pixels all are near guessing:"
    )
    some = tuple(
        one if one.network == "dense" else other
        for one, other in zip(fallen, made(figures, (0, 0), (1, 1)).trainings, strict=True)
    )
    assert floor(figures.model_copy(update={"trainings": some}), "shifted").startswith(
        "At 8 pixels *dense, not taught* and *dense, taught* are near guessing:"
    )
    assert listed([1]) == "1"


def test_each_variant_has_a_panel_with_a_line_and_a_band_for_each_network(figures: Figures) -> None:
    panels = shifted(figures).axes
    assert [axes.get_title() for axes in panels] == ["not taught", "taught"]
    for axes, variant in zip(panels, ("untaught", "taught"), strict=True):
        assert len(axes.collections) == 2
        dense, convolutional, guess = axes.get_lines()
        assert (dense.get_label(), convolutional.get_label(), guess.get_label()) == (
            "dense",
            "convolutional",
            "guessing",
        )
        known = figures.of("dense", variant)  # type: ignore[arg-type]
        drawn = [100 * mean(mean(each.shifted[at]) for each in known) for at in range(9)]
        assert list(dense.get_ydata()) == pytest.approx(drawn)  # type: ignore[arg-type]


def test_numbers_are_written_as_a_reader_wants_them(figures: Figures) -> None:
    assert spread([1.0], 1) == "1.0"
    assert spread([1.0, 2.0, 6.0], 1) == "3.0 (1.0 to 6.0)"
    assert paragraph("  a\n   b ") == "a b"
    pool = next(layer for layer in figures.layers if layer.name == "stem.pool")
    half, whole = pool.compared[:2]
    assert difference(half.model_copy(update={"mean": 0.4})) == "*40%*"
    assert [difference(whole.model_copy(update={"largest": value})) for value in (0.0, 3e-16)] == ["0", "3e-16"]


def test_the_page_in_the_repository_is_what_its_json_gives() -> None:
    kept = Figures.model_validate_json((DOCS / PICTURES / JSON).read_text())
    assert (DOCS / REPORT).read_text() == report(kept)
    assert all((DOCS / PICTURES / name).is_file() for name in PLOTS)
