import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.conftest import FASHION, TINY
from training.__main__ import REFUSED, main
from training.checkpoint import CHECKPOINT, CURVE, STATE
from training.distributed import Group
from training.resuming import BEGUN, begin, cut_off, held
from training.runs import RECORD, RunMissing

FLAGS = ["--width", "2", "--epochs", "4", "--held-out", "40"]


@pytest.fixture
def data(data_dir: Path) -> list[str]:
    return ["--data-dir", str(data_dir)]


def begun(parent: Path, *files: str) -> Path:
    folder = begin(parent, "fashion-mnist", TINY, FASHION.task, Group()).folder
    for name in files:
        (folder / name).touch()
    return folder


def killed_after(epochs: int, runs: Path, data: list[str]) -> None:
    command = [sys.executable, "-m", "training", "train", "fashion-mnist", *data, "--runs", str(runs), *FLAGS]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    pipe, errors = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, stdout=pipe, stderr=errors, env=environment, text=True) as process:
        assert process.stdout is not None
        said = ""
        while f"epoch {epochs}: validation accuracy" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path, data: list[str]) -> None:
    killed_after(2, tmp_path / "cut", data)
    cut, whole = tmp_path / "cut/fashion-mnist/1", tmp_path / "whole/fashion-mnist/1"
    assert not (cut / RECORD).exists()
    assert main(["train", *data, "--runs", str(tmp_path / "cut"), "--resume", "--epochs", "4"]) == 0
    assert main(["train", *data, "--runs", str(tmp_path / "whole"), *FLAGS]) == 0
    left, right = load_file(cut / CHECKPOINT), load_file(whole / CHECKPOINT)
    assert all(torch.equal(left[name], right[name]) for name in left)
    for name in (CURVE, RECORD, "report.json", "curve.png", "kernels.png", "confusion.png", "reliability.png"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (cut / STATE).exists()
    assert main(["train", *data, "--runs", str(tmp_path / "cut"), "--resume"]) == REFUSED


def test_what_is_trained_is_written_down_at_the_start(tmp_path: Path) -> None:
    values = json.loads((begun(tmp_path) / BEGUN).read_text())
    assert values["recipe"]["width"] == TINY.width
    assert values["versions"].keys() >= {"python", "torch"}
    assert (values["device"], values["processes"]) == ("cpu", 1)


def test_the_newest_run_that_was_cut_off_is_found(tmp_path: Path) -> None:
    interrupted, killed, finished = begun(tmp_path, RECORD, STATE), begun(tmp_path, STATE), begun(tmp_path, RECORD)
    assert cut_off(tmp_path).folder == killed
    (killed / RECORD).touch()
    (killed / STATE).unlink()
    assert cut_off(tmp_path).folder == interrupted
    assert cut_off(tmp_path).recipe == TINY
    assert cut_off(tmp_path).task == FASHION.task
    (interrupted / STATE).unlink()
    with pytest.raises(RunMissing, match="nothing to resume"):
        cut_off(tmp_path)
    assert finished.name == "3"


def test_a_run_that_is_being_trained_is_left_alone(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with held(folder), pytest.raises(RunMissing, match="is being trained now"), held(folder):
        pass
    with held(folder):
        pass


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--epochs", "3"], "--epochs 3: "),
        (["--seed", "9"], "was begun with 3, and goes on so"),
        (["--pretrained"], "--from and --pretrained begin one"),
        (["--seeds", "1,2"], "--resume is about one"),
    ],
)
def test_a_resumed_run_keeps_its_recipe(
    tmp_path: Path, data: list[str], flags: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(tmp_path / "fashion-mnist")
    assert main(["train", *data, "--runs", str(tmp_path), "--resume", *flags]) == REFUSED
    assert sentence in capsys.readouterr().err


def test_a_run_goes_on_only_with_its_own_data(
    tmp_path: Path, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(FASHION.task, mean=(0.1,))
    begin(tmp_path / "fashion-mnist", "fashion-mnist", TINY, other, Group())
    assert main(["train", *data, "--runs", str(tmp_path), "--resume"]) == REFUSED
    assert "was begun with other data" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", '{"name": "x"}'])
def test_a_beginning_that_cannot_be_read_is_one_line(tmp_path: Path, content: str) -> None:
    (begun(tmp_path) / BEGUN).write_text(content)
    with pytest.raises(RunMissing, match="cannot be read"):
        cut_off(tmp_path)
