import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from service.inference.contract.card import InputCard
from service.inference.inputs.reading import read_picture
from tests.training.pictures import filled, pets
from training.data.examples import DataMissing
from training.data.folder import own_pictures, picture_folder

CARD = own_pictures(16)


def silent(_: str) -> None: ...


def test_sub_folders_of_train_and_test_are_the_classes(tmp_path: Path) -> None:
    data = picture_folder(pets(tmp_path, "red", "green", "blue"), CARD, say=silent)
    assert data.task.labels == ("blue", "green", "red")
    training, test = data.read_training(tmp_path), data.read_test(tmp_path)
    assert (training.inputs.dtype, training.inputs.shape) == (torch.uint8, (60, 16, 16, 3))
    assert (test.targets.dtype, test.targets.bincount().tolist()) == (torch.int64, [6, 6, 6])
    strongest = training.inputs.float().mean((1, 2)).argmax(1)
    assert strongest.tolist() == [{0: 2, 1: 1, 2: 0}[target] for target in training.targets.tolist()]


def test_pictures_are_read_as_the_service_reads_them(tmp_path: Path) -> None:
    pets(tmp_path, "red", "green")
    read = picture_folder(tmp_path, CARD, say=silent).read_test(tmp_path)
    files = [path for colour in ("green", "red") for path in sorted((tmp_path / "test" / colour).iterdir())]
    for path, pixels in zip(files, read.inputs.numpy(), strict=True):
        assert (pixels == read_picture(path.read_bytes(), CARD, max_pixels=10_000)).all()


def test_mean_and_spread_are_those_of_the_part_to_learn_from(tmp_path: Path) -> None:
    data = picture_folder(pets(tmp_path, "red", "green"), CARD, say=silent)
    scaled = data.read_training(tmp_path).inputs.double() / 255
    assert data.task.mean == pytest.approx(scaled.mean((0, 1, 2)).tolist(), rel=1e-6)
    assert data.task.std == pytest.approx(scaled.std((0, 1, 2), correction=0).tolist(), rel=1e-6)


def test_without_a_test_folder_a_fifth_of_each_class_is_set_aside(tmp_path: Path) -> None:
    for colour in ("red", "green"):
        filled(tmp_path / colour, 40, seed=len(colour), colour=colour)
    data = picture_folder(tmp_path, CARD, say=silent)
    parts = (data.read_training, data.read_test)
    learnt, tested = ({row.numpy().tobytes() for row in part(tmp_path).inputs} for part in parts)
    assert (len(learnt | tested), learnt & tested) == (80, set())
    assert all(2 <= count <= 16 for count in data.read_test(tmp_path).targets.bincount().tolist())
    for path in sorted((tmp_path / "red").iterdir())[:30]:
        shutil.copy(path, tmp_path / "red" / f"again-{path.name}")
    filled(tmp_path / "blue", 20, seed=5, colour="blue")
    more = {row.numpy().tobytes() for row in picture_folder(tmp_path, CARD, say=silent).read_test(tmp_path).inputs}
    assert tested <= more


def test_each_part_has_a_picture_however_few_there_are(tmp_path: Path) -> None:
    for colour in ("red", "green", "blue"):
        filled(tmp_path / colour, 2, seed=1, colour=colour)
    data = picture_folder(tmp_path, CARD, say=silent)
    for part in (data.read_training, data.read_test):
        assert part(tmp_path).targets.bincount().tolist() == [1, 1, 1]


def test_grey_pictures_of_another_size_come_as_the_card_says(tmp_path: Path) -> None:
    card = InputCard(name="pixels", kind="image", size=(12, 8), channels=1, colour="GREY", layout="NHWC", dtype="uint8")
    data = picture_folder(pets(tmp_path, "red", "green"), card, say=silent)
    assert data.read_test(tmp_path).inputs.shape == (12, 12, 8, 1)
    assert len(data.task.mean) == 1


def test_hidden_files_and_folders_do_not_count(tmp_path: Path) -> None:
    pets(tmp_path, "red", "green")
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "red" / ".DS_Store").write_bytes(b"no picture")
    (tmp_path / "train" / "red" / ".thumbnails").mkdir()
    shutil.copy(tmp_path / "train" / "red" / "0.png", tmp_path / "train" / "red" / ".thumbnails")
    said: list[str] = []
    data = picture_folder(tmp_path, CARD, say=said.append)
    assert data.task.labels == ("green", "red")
    assert len(data.read_training(tmp_path).targets) == 40
    assert said == []


def test_labels_are_the_folders_names_whatever_they_are(tmp_path: Path) -> None:
    pets(tmp_path, "red", "green")
    for part in ("train", "test"):
        (tmp_path / part / "red").rename(tmp_path / part / "Grün & 'rot' 猫 (2)")
    assert picture_folder(tmp_path, CARD, say=silent).task.labels == ("Grün & 'rot' 猫 (2)", "green")


def test_a_few_unreadable_files_are_skipped_and_counted(tmp_path: Path) -> None:
    pets(tmp_path, "red", "green")
    (tmp_path / "train" / "red" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / "green" / "0.png").write_bytes(b"")
    said: list[str] = []
    data = picture_folder(tmp_path, CARD, say=said.append)
    assert data.read_training(tmp_path).targets.bincount().tolist() == [19, 20]
    [sentence] = said
    assert sentence.startswith("train: 2 of 41 files are no readable pictures; ")
    assert "0.png" in sentence
    assert "zero bytes long" in sentence
    assert sentence.endswith("skipped")


def test_a_picture_larger_than_the_service_takes_is_skipped(tmp_path: Path) -> None:
    pets(tmp_path, "red", "green")
    with (tmp_path / "train" / "red" / "film.mp4").open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    said: list[str] = []
    picture_folder(tmp_path, CARD, say=said.append)
    assert "film.mp4': larger than 64 MiB" in said[0]


def test_too_many_unreadable_files_are_refused(tmp_path: Path) -> None:
    pets(tmp_path, "red", "green")
    for index in range(5):
        (tmp_path / "train" / "red" / f"{index}.jpg").write_bytes(b"\xff\xd8\xff damaged")
    with pytest.raises(DataMissing, match=r"^train: 5 of 4\d files are no readable .* too many to skip$"):
        picture_folder(tmp_path, CARD, say=silent)


def test_small_pictures_are_enlarged_and_counted(tmp_path: Path) -> None:
    pets(tmp_path, "red", "green")
    said: list[str] = []
    data = picture_folder(tmp_path, own_pictures(25), say=said.append)
    assert data.read_test(tmp_path).inputs.shape[1:] == (25, 25, 3)
    assert said[1] == "train: 26 of 40 pictures are smaller than 25 x 25 pixels and are enlarged"


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: shutil.rmtree(folder), "there is no folder"),
        (lambda folder: shutil.rmtree(folder / "train" / "red"), "has only 'green'"),
        (lambda folder: emptied(folder / "train" / "red"), "no pictures of 'red'"),
        (lambda folder: emptied(folder / "test" / "red"), "no pictures of 'red'"),
        (lambda folder: (folder / "test" / "red").rename(folder / "test" / "cat"), "in one only: 'cat', 'red'"),
        (lambda folder: (folder / "train" / "a\nb").mkdir(), r"'a\\nb' is no printable text"),
        (lambda folder: [path.rename(folder.parent / path.name) for path in folder.iterdir()], "it has none"),
    ],
)
def test_a_folder_that_cannot_be_learnt_from_is_one_sentence(tmp_path: Path, damage: object, sentence: str) -> None:
    folder = pets(tmp_path / "pets", "red", "green")
    damage(folder)  # type: ignore[operator]
    with pytest.raises(DataMissing, match=sentence) as caught:
        picture_folder(folder, CARD, say=silent)
    assert "\n" not in str(caught.value)


def test_a_class_with_one_picture_cannot_be_split(tmp_path: Path) -> None:
    filled(tmp_path / "red", 1, seed=1, colour="red")
    filled(tmp_path / "green", 5, seed=1, colour="green")
    with pytest.raises(DataMissing, match="one picture each of 'red'"):
        picture_folder(tmp_path, CARD, say=silent)


def test_a_class_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    pets(tmp_path, "red", "green")
    emptied(tmp_path / "train" / "red")
    (tmp_path / "train" / "red" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataMissing, match="no readable picture of 'red'"):
        picture_folder(tmp_path, CARD, say=silent)


def test_a_networks_task_keeps_other_classes_out_and_reads_only_the_test_part(tmp_path: Path) -> None:
    task = picture_folder(pets(tmp_path, "red", "green"), CARD, say=silent).task
    (tmp_path / "train" / "red" / "notes.txt").write_text("unread")
    said: list[str] = []
    data = picture_folder(tmp_path, CARD, task=task, say=said.append)
    assert (data.task, len(data.read_test(tmp_path).targets), said) == (task, 12, [])
    pets(tmp_path, "blue")
    with pytest.raises(DataMissing, match="has the classes 'blue', 'green', 'red', the network knows 'green', 'red'"):
        picture_folder(tmp_path, CARD, task=task, say=silent)


def test_a_channel_that_never_varies_divides_by_one(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name, level in (("dark", 0), ("light", 255)):
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(np.dstack([np.full((16, 16, 2), level), np.zeros((16, 16))]).astype(np.uint8)).save(
                tmp_path / part / name / "0.png"
            )
    data = picture_folder(tmp_path, CARD, say=silent)
    assert data.task.std == (0.5, 0.5, 1.0)
