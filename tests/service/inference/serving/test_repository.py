from pathlib import Path
from typing import Any

import pytest

from service.errors import ModelRejected, NotReady, UnknownName
from service.inference.serving.repository import ModelRepository


def load(name: str, number: str, file: Path) -> Any:
    """Stands in for a loader: the file's words decide."""
    if "bad" in file.read_text():
        raise ModelRejected(f"{name} {number} is bad")
    return name, number


def repository(folder: Path, **models: dict[str, str]) -> ModelRepository:
    for name, versions in models.items():
        for number, words in versions.items():
            file = folder / name / number / "model.onnx"
            file.parent.mkdir(parents=True)
            file.write_text(words)
    models_there = ModelRepository(folder, load)
    models_there.adopt(models_there.load_all())
    return models_there


def found(models: ModelRepository, name: str, number: str | None = None) -> Any:
    """What `load` made of it."""
    return models.find(name, number)


def test_the_newest_version_answers_by_number_not_by_letter(tmp_path: Path) -> None:
    models = repository(tmp_path, a={"9": "good", "10": "good", "2": "good"})
    assert list(models.entry("a").versions) == ["2", "9", "10"]
    assert found(models, "a") == ("a", "10")
    assert found(models, "a", "9") == ("a", "9")


def test_a_bad_version_leaves_the_one_before_it_in_place(tmp_path: Path) -> None:
    models = repository(tmp_path, a={"1": "good", "2": "bad"})
    assert found(models, "a") == ("a", "1")
    assert models.version("a", "2").state == "failed"
    with pytest.raises(NotReady, match="a 2 is bad"):
        models.find("a", "2")


def test_not_ready_when_no_version_of_any_model_is_good(tmp_path: Path) -> None:
    models = repository(tmp_path, a={"1": "bad"})
    assert not models.ready
    with pytest.raises(NotReady, match="a 1 is bad"):
        models.find("a")
    assert repository(tmp_path, b={"1": "good"}).ready


def test_what_is_no_version_is_passed_over(tmp_path: Path) -> None:
    models = repository(tmp_path, a={"1": "good", "01": "good", "0": "good", "v2": "good", "²": "good"})
    (tmp_path / "a" / "3").mkdir()
    (tmp_path / "README.md").write_text("about")
    models.adopt(models.load_all())
    assert list(models.entry("a").versions) == ["1"]
    assert [entry.name for entry in models.entries()] == ["a"]


def test_unknown_names_list_the_nearest(tmp_path: Path) -> None:
    models = repository(tmp_path, fashion={"1": "good"}, digits={"1": "good"})
    with pytest.raises(UnknownName, match="fashion"):
        models.find("fashon")
    with pytest.raises(UnknownName, match="nearest are: 1"):
        models.find("fashion", "7")


def test_nothing_is_known_before_everything_has_been_tried(tmp_path: Path) -> None:
    models = ModelRepository(tmp_path, load)
    with pytest.raises(NotReady, match="still being loaded"):
        models.find("a")
    assert not models.ready


def test_a_strange_failure_of_one_file_leaves_the_others_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def strange(name: str, number: str, file: Path) -> Any:
        if name == "odd":
            raise ZeroDivisionError("odd")
        return load(name, number, file)

    repository(tmp_path, odd={"1": "good"}, even={"1": "good"})
    models = ModelRepository(tmp_path, strange)
    models.adopt(models.load_all())
    assert models.version("odd").reason == "ZeroDivisionError: odd"
    assert found(models, "even") == ("even", "1")
    assert "nobody foresaw" in caplog.text


def test_an_empty_folder_says_what_it_expected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not repository(tmp_path / "nowhere").ready
    assert "NAME/VERSION/model.onnx" in caplog.text
