from pathlib import Path

import onnxruntime as ort
import pytest
from PIL import Image

from service.errors import InvalidRequest
from service.inference.contract.card import ModelCard
from service.inference.drafting.draft import draft
from service.inference.drafting.preprocessing import trials, ways
from service.inference.graph.layers import Graph
from service.inference.serving.model import Model
from tests.service.foreign import foreign_onnx

LABELS = ["red", "light green", "blue"]
COLOURS = {"red": (250, 90, 80), "light-green": (90, 240, 100), "blue": (80, 100, 255)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (9 + number, 8), colour).save(tmp_path / name / f"{number}.png")
    return tmp_path


def opened(offset: float) -> tuple[Model, ModelCard]:
    proto = foreign_onnx(offset=offset)
    session = ort.InferenceSession(proto.SerializeToString())
    card = draft(session, Graph.of(proto), LABELS).card
    assert card is not None
    return Model(session, batches=False), card


@pytest.mark.parametrize(("offset", "best"), [(0.5, "RGB, 0 to 1"), (0.25, "RGB, -1 to 1"), (150.0, "RGB, 0 to 255")])
def test_the_way_that_a_model_was_made_for_recognises_most(folder: Path, offset: float, best: str) -> None:
    found = trials(*opened(offset), folder)
    accuracies = {trial.name: trial.accuracy for trial in found}
    assert accuracies[best] == found[0].accuracy == 1.0
    assert accuracies[best.replace("RGB", "BGR")] == pytest.approx(1 / 3)
    assert found[-1].accuracy < 0.5
    assert len(found) == len(ways(3))


def test_what_is_no_picture_is_left_out(folder: Path) -> None:
    (folder / "red" / "notes.txt").write_text("not a picture")
    assert trials(*opened(0.5), folder)[0].accuracy == 1.0


def test_a_folder_that_is_no_label_is_refused(folder: Path) -> None:
    (folder / "purple").mkdir()
    with pytest.raises(InvalidRequest, match="'purple' is no label"):
        trials(*opened(0.5), folder)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no pictures"):
        trials(*opened(0.5), tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_way_makes_a_valid_card(channels: int) -> None:
    for fields in ways(channels).values():
        assert set(fields) == {"colour", "scale", "mean", "std"}
        assert len(fields["mean"]) in (0, channels)  # type: ignore[arg-type]
