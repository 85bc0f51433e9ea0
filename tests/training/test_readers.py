"""CIFAR, MNIST-1D and ModelNet10, on small files made here: read whole, damaged, missing, hostile; and learnt from."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from tests.training.small_data import RANDOM, Harmful, signals, unreachable, voxels, written
from training.__main__ import REFUSED, main
from training.config import RECIPES
from training.data.examples import DataMissing
from training.data.table import DATA_SETS, data_set
from training.export import MODEL, card_of
from training.networks.table import build

FOLDERS = {"cifar10": datasets.CIFAR10.base_folder, "cifar100": datasets.CIFAR100.base_folder}


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10 and CIFAR-100 of 20 pictures each, in their authors' own form."""
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    pixels = RANDOM.integers(0, 256, (20, 3072), dtype=np.uint8)
    for source, label, names in ((datasets.CIFAR10, "labels", 10), (datasets.CIFAR100, "fine_labels", 100)):
        folder = tmp_path / source.base_folder
        lists = {}
        for part, name in (("train_list", "part_1"), ("test_list", "part_2")):
            targets = [int(number) for number in np.arange(20) % names]
            lists[part] = [[name, written(folder / name, {"data": pixels, label: targets})]]
        key = "label_names" if source is datasets.CIFAR10 else "fine_label_names"
        meta = {"filename": "meta", "key": key}
        meta["md5"] = written(folder / "meta", {key: [str(number) for number in range(names)]})
        for name, value in (*lists.items(), ("meta", meta)):
            monkeypatch.setattr(source, name, value)
    return tmp_path


@pytest.mark.parametrize(("name", "labels"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_is_read_pixel_by_pixel(cifar: Path, name: str, labels: int) -> None:
    data = data_set(name)
    examples = data.read_training(cifar)
    assert (examples.inputs.shape, examples.inputs.dtype) == ((20, 32, 32, 3), torch.uint8)
    assert examples.targets.tolist() == [number % labels for number in range(20)]
    stored = pickle.loads((cifar / FOLDERS[name] / "part_1").read_bytes())["data"]
    assert examples.inputs[7, 3, 5].tolist() == [stored[7, plane * 1024 + 3 * 32 + 5] for plane in range(3)]
    assert len(data.read_test(cifar).targets) == 20


def test_of_cifar10_the_cats_and_dogs_alone(cifar: Path) -> None:
    whole, pets = (data_set(name).read_test(cifar) for name in ("cifar10", "cats-dogs"))
    assert pets.targets.tolist() == [0, 1, 0, 1]
    assert torch.equal(pets.inputs, whole.inputs[[3, 5, 13, 15]])


def test_cifar_that_is_nowhere_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    with pytest.raises(
        DataMissing, match=r"CIFAR100 is not whole in .* cannot be downloaded .*no route.*--data-dir"
    ) as caught:
        data_set("cifar100").read_training(tmp_path)
    assert "\n" not in str(caught.value)


def test_cifar_cut_short_is_one_line(cifar: Path) -> None:
    path = cifar / datasets.CIFAR10.base_folder / "part_1"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataMissing, match="CIFAR10 is not whole in") as caught:
        data_set("cifar10").read_training(cifar)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", [True, False])
def test_mnist1d_is_read_in_both_forms(tmp_path: Path, packed: bool) -> None:
    (x, y), (x_test, y_test) = signals(30), signals(20)
    if packed:
        np.savez(tmp_path / "mnist1d.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    else:
        values = {"x": x, "y": np.array(y), "x_test": x_test, "y_test": np.array(y_test), "templates": {"x": x[:10]}}
        (tmp_path / "mnist1d_data.pkl").write_bytes(pickle.dumps(values))
    data = data_set("mnist1d")
    training, test = data.read_training(tmp_path), data.read_test(tmp_path)
    assert (training.inputs.shape, training.inputs.dtype) == ((30, 40, 1), torch.float32)
    assert np.allclose(training.inputs[..., 0].numpy(), x)
    assert test.targets.tolist() == y_test


def test_a_pickle_that_wants_to_run_something_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist1d_data.pkl").write_bytes(pickle.dumps({"x": Harmful(), "y": [0]}))
    with pytest.raises(DataMissing, match=r"it wants (posix|nt)\.system, which is no array"):
        data_set("mnist1d").read_training(tmp_path)
    assert not (tmp_path / "harmed").exists()


def test_modelnet10_is_read_as_voxels(tmp_path: Path) -> None:
    voxels(tmp_path / "modelnet10.npz")
    training, test = data_set("modelnet10").read_training(tmp_path), data_set("modelnet10").read_test(tmp_path)
    assert (training.inputs.shape, training.inputs.dtype) == ((12, 30, 30, 30, 1), torch.uint8)
    assert set(training.inputs.flatten().tolist()) == {0, 1}
    assert torch.equal(test.inputs, training.inputs[::2])
    assert test.targets.tolist() == [0, 2, 4, 6, 8, 0]


@pytest.mark.parametrize(("name", "file"), [("mnist1d", "mnist1d.npz"), ("modelnet10", "modelnet10.npz")])
@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04 cut"])
def test_an_archive_missing_or_damaged_is_one_line(tmp_path: Path, name: str, file: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(
        DataMissing, match=f"{file}.* --data-dir" if content is None else f"{file} cannot be read"
    ) as caught:
        data_set(name).read_training(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mnist1d", "modelnet10"])
def test_an_archive_of_something_else_is_one_line(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / f"{name}.npz", other=np.zeros(3))
    with pytest.raises(DataMissing, match="cannot be read"):
        data_set(name).read_training(tmp_path)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "folder"])
def test_every_recipe_names_data_that_its_network_takes(name: str) -> None:
    assert RECIPES[name].data == name
    assert set(DATA_SETS) | {"folder"} == set(RECIPES)
    task = data_set(name).task
    logits = build(RECIPES[name], task).eval()(torch.zeros(1, *task.input.shape))
    assert logits.shape == (1, task.outputs)


@pytest.mark.parametrize(
    ("name", "kind", "task"),
    [
        ("cifar10", "image", "multiclass"),
        ("cats-dogs", "image", "binary"),
        ("mnist1d", "signal", "multiclass"),
        ("modelnet10", "volume", "multiclass"),
    ],
)
def test_whatever_the_data_it_is_trained_exported_and_measured(
    cifar: Path, name: str, kind: str, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (x, y), (x_test, y_test) = signals(20), signals(10)
    np.savez(cifar / "mnist1d.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    voxels(cifar / "modelnet10.npz")
    places = ["--data-dir", str(cifar), "--runs", str(cifar / "runs"), "--models", str(cifar / "models")]
    small = ["--width", "2", "--epochs", "2", "--held-out", "1", "--batch", "8"]
    assert main(["train", name, *places, *small, "--export"]) == 0
    assert (cifar / "runs" / name / "1" / "kernels.png").is_file()
    assert main(["evaluate", name, *places]) == 0
    stated = [line for line in capsys.readouterr().out.splitlines() if line.startswith("accuracy")]
    assert len(stated) == 3
    assert len(set(stated)) == 1
    card = card_of(cifar / "models" / name / "1" / MODEL)
    assert (card.input.kind, card.task) == (kind, task)


def test_nothing_is_covered_but_pictures(cifar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = signals(20)
    np.savez(cifar / "mnist1d.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    assert main(["train", "mnist1d", "--data-dir", str(cifar), "--held-out", "1", "--erase", "0.5"]) == REFUSED
    assert "--erase covers a part of a picture, and the data holds signals" in capsys.readouterr().err
