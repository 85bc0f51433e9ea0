import gzip
import shutil
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets

from service.errors import InvalidRequest, UnknownName
from tests.service.fashion import FOLDER, fashion
from tests.training.conftest import FASHION, TEST, TRAINING, idx, stripes
from training.data.examples import DataMissing, Examples, split
from training.data.table import data_set


def test_gzip_files_are_read_as_they_are(data_dir: Path) -> None:
    pixels, labels = stripes(TRAINING, 1)
    read = FASHION.read_training(data_dir)
    assert (read.inputs.dtype, read.targets.dtype) == (torch.uint8, torch.int64)
    assert read.inputs.shape == (TRAINING, 28, 28, 1)
    assert (read.inputs.numpy()[..., 0] == pixels).all()
    assert read.targets.tolist() == labels.tolist()
    assert len(FASHION.read_test(data_dir).targets) == TEST


def test_unpacked_files_are_read_from_where_torchvision_puts_them(data_dir: Path, tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in data_dir.glob("*.gz"):
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    assert torch.equal(FASHION.read_test(tmp_path).inputs, FASHION.read_test(data_dir).inputs)


def test_debians_package_is_read_as_it_is() -> None:
    first = fashion(3)
    training, test = FASHION.read_training(FOLDER), FASHION.read_test(FOLDER)
    assert (len(training.targets), len(test.targets)) == (60_000, 10_000)
    assert (test.inputs[:3, ..., 0].numpy() == first).all()
    assert torch.bincount(test.targets).tolist() == [1000] * 10
    scaled = training.inputs.float() / 255
    assert float(scaled.mean()) == pytest.approx(FASHION.task.mean[0], abs=1e-4)
    assert float(scaled.std()) == pytest.approx(FASHION.task.std[0], abs=1e-4)


class Unreachable:
    __name__ = "FashionMNIST"

    def __call__(self, *_: object, **__: object) -> None:
        raise URLError("no route")


unreachable = Unreachable()


def test_missing_data_without_a_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "FashionMNIST", unreachable)
    with pytest.raises(DataMissing, match=r"cannot be downloaded .*no route.*--data-dir") as caught:
        FASHION.read_training(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_data_is_downloaded_when_there_is_a_network(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(root: Path, download: bool) -> None:
        assert download
        shutil.copytree(data_dir, Path(root) / "FashionMNIST" / "raw")

    download.__name__ = "FashionMNIST"

    monkeypatch.setattr(datasets, "FashionMNIST", download)
    assert len(FASHION.read_training(tmp_path).targets) == TRAINING


def test_a_missing_test_part_is_noticed_before_training(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "FashionMNIST", unreachable)
    for path in data_dir.glob("train-*"):
        shutil.copy(path, tmp_path)
    with pytest.raises(DataMissing):
        FASHION.read_training(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"text, no pictures", b"\0\0\x08\x03\0\0\0\x05"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_file_is_one_line(data_dir: Path, tmp_path: Path, damage: bytes, packed: bool) -> None:
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    name = "train-images-idx3-ubyte" + (".gz" if packed else "")
    (tmp_path / name).write_bytes(gzip.compress(damage) if packed else damage)
    with pytest.raises(DataMissing, match=f"{name} cannot be read") as caught:
        FASHION.read_training(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_gzip_file_cut_short_is_one_line(data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataMissing, match="cannot be read"):
        FASHION.read_training(tmp_path)


def test_pictures_and_labels_of_different_number_are_refused(data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    shutil.copy(data_dir / "t10k-labels-idx1-ubyte.gz", tmp_path / "train-labels-idx1-ubyte.gz")
    with pytest.raises(DataMissing, match="do not belong together"):
        FASHION.read_training(tmp_path)


@pytest.mark.parametrize("shape", [(2, 32, 32), (0, 28, 28), (2, 28, 28)])
def test_files_of_another_data_set_are_refused(data_dir: Path, tmp_path: Path, shape: tuple[int, ...]) -> None:
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    labels = np.full(shape[:1], 10, np.uint8)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(shape, np.uint8))))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    with pytest.raises(DataMissing, match="another data set"):
        FASHION.read_training(tmp_path)


def test_an_unknown_data_set_names_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="fashion-mnist"):
        data_set("fashion")


def numbered(count: int) -> Examples:
    return Examples(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), torch.arange(count))


def test_the_validation_split_is_disjoint_and_complete() -> None:
    learnt, chosen = split(numbered(50), 20, seed=1)
    assert len(chosen.targets) == 20
    assert sorted([*learnt.targets.tolist(), *chosen.targets.tolist()]) == list(range(50))


def test_the_split_follows_its_seed() -> None:
    once, again, other = (split(numbered(50), 20, seed)[1].targets.tolist() for seed in (1, 1, 2))
    assert once == again != other


def test_a_split_that_leaves_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="--held-out 50"):
        split(numbered(50), 50, seed=1)
