import json
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors.torch import load_file

from tests.training.conftest import FASHION, TINY
from tests.training.processes import started
from training.__main__ import REFUSED, main
from training.begun import BEGUN, Machine, read_begun
from training.checkpoint import CHECKPOINT, CURVE, STATE
from training.commands.places import INTERRUPTED
from training.distributed import Group
from training.folders import RunMissing, following
from training.networks.table import build
from training.records import REPORT
from training.resuming import begin, cut_off, gone_on, held, is_held
from training.runs import RECORD, read
from training.starting import Start

FLAGS = ["--width", "2", "--epochs", "4", "--held-out", "40"]

KILLED = """
import os, signal, sys
from training import loop
from training.__main__ import main

def store_and_die(learner, folder, store=loop.store):
    store(learner, folder)
    if len(learner.rows) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

loop.store = store_and_die
main(sys.argv[2:])
"""


@pytest.fixture
def data(data_dir: Path) -> list[str]:
    return ["--data-dir", str(data_dir)]


def begun(parent: Path, *files: str) -> Path:
    folder = begin(following(parent), "fashion-mnist", TINY, FASHION.task, Group()).folder
    for name in files:
        (folder / name).touch()
    return folder


def cut(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def killed_after(epochs: int, runs: Path, data: list[str]) -> None:
    command = ["train", "fashion-mnist", *data, "--runs", str(runs), *FLAGS]
    with started("-c", KILLED, str(epochs), *command) as process:
        said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, said


def test_a_killed_run_resumes_to_the_same_weights(
    tmp_path: Path, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    killed_after(2, tmp_path / "cut", data)
    cut, whole = tmp_path / "cut/fashion-mnist/1", tmp_path / "whole/fashion-mnist/1"
    assert not (cut / RECORD).exists()
    assert len((cut / CURVE).read_text().splitlines()) == 1 + 2
    assert main(["train", *data, "--runs", str(tmp_path / "cut"), "--resume", "--epochs", "4"]) == 0
    assert re.findall(r"epoch (\d): validation", capsys.readouterr().out) == ["3", "4"]
    assert main(["train", *data, "--runs", str(tmp_path / "whole"), *FLAGS]) == 0
    left, right = load_file(cut / CHECKPOINT), load_file(whole / CHECKPOINT)
    assert all(torch.equal(left[name], right[name]) for name in left)
    for name in (CURVE, RECORD, "report.json", "curve.png", "kernels.png", "confusion.png", "reliability.png"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (cut / STATE).exists()
    assert main(["train", *data, "--runs", str(tmp_path / "cut"), "--resume"]) == REFUSED


def test_a_run_cut_off_before_its_report_is_measured_when_it_goes_on(
    tmp_path: Path, data: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [*data, "--runs", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr("training.commands.train.judged", cut)
        assert main(["train", *places, *FLAGS, "--epochs", "1"]) == INTERRUPTED
    assert "epoch 1: " in capsys.readouterr().out
    assert main(["train", *places, "--resume"]) == 0
    assert "epoch 1: " not in capsys.readouterr().out
    folder = tmp_path / "fashion-mnist/1"
    assert (folder / REPORT).is_file()
    assert not (folder / STATE).exists()


def test_a_run_that_began_with_weights_goes_on_with_them(
    tmp_path: Path, data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(11)
    given = build(TINY, FASHION.task).state_dict()
    start = Start("--from models/x/1", "x/1", given, TINY, FASHION.task.input)
    monkeypatch.setattr("training.commands.plan.start_from_model", lambda _: start)
    places, still = [*data, "--runs", str(tmp_path)], ["--epochs", "1", "--held-out", "40", "--learning-rate", "0"]
    with monkeypatch.context() as patch:
        patch.setattr("training.loop.learn", cut)
        assert main(["train", *places, "--from", "x", *still]) == INTERRUPTED
    assert main(["train", *places, "--resume"]) == 0
    run = read(tmp_path / "fashion-mnist/1")
    assert (run.begun.start, run.begun.origin) == (start.flag, start.origin)
    assert torch.equal(load_file(run.folder / CHECKPOINT)["stem.conv.weight"], given["stem.conv.weight"])


def test_what_is_trained_is_written_down_at_the_start(tmp_path: Path) -> None:
    values = json.loads((begun(tmp_path) / BEGUN).read_text())
    assert values["recipe"]["width"] == TINY.width
    [machine] = values["machines"]
    assert machine["versions"].keys() >= {"python", "torch"}
    assert (machine["device"], machine["processes"]) == ("cpu", 1)


def test_whatever_goes_on_with_a_run_is_written_down(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    first = read_begun(folder)
    assert gone_on(first, Group()) == first
    with held(folder):
        second = gone_on(first, Group(size=2))
        assert is_held(folder)
    assert read_begun(folder) == second
    assert [machine.processes for machine in second.machines] == [1, 2]
    assert second.versions == first.versions
    machines = tuple(Machine({"torch": version}, "cpu", 1) for version in ("2.8", "2.8", "2.9"))
    assert replace(first, machines=machines).versions == {"torch": "2.8, then 2.9"}


def test_the_newest_run_that_was_cut_off_is_found(tmp_path: Path) -> None:
    interrupted, killed, finished = begun(tmp_path, RECORD, STATE), begun(tmp_path, STATE), begun(tmp_path, RECORD)
    assert cut_off(tmp_path) == read_begun(killed)
    (killed / STATE).unlink()
    assert cut_off(tmp_path).folder == interrupted
    assert cut_off(tmp_path).recipe == TINY
    assert cut_off(tmp_path).task == FASHION.task
    assert finished.name == "3"


def test_without_its_state_a_run_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(RunMissing, match="nothing to resume"):
        cut_off(tmp_path)


def test_a_run_in_training_does_not_hide_an_older_one(tmp_path: Path) -> None:
    older, newer = begun(tmp_path, STATE), begun(tmp_path, STATE)
    with held(newer):
        assert cut_off(tmp_path).folder == older
        with held(older), pytest.raises(RunMissing, match="2 is being trained now"):
            cut_off(tmp_path)
    assert cut_off(tmp_path).folder == newer


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
    begun(tmp_path / "fashion-mnist", STATE)
    assert main(["train", *data, "--runs", str(tmp_path), "--resume", *flags]) == REFUSED
    assert sentence in capsys.readouterr().err


def test_a_run_goes_on_only_with_its_own_data(
    tmp_path: Path, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(FASHION.task, mean=(0.1,))
    folder = begin(tmp_path / "fashion-mnist/1", "fashion-mnist", TINY, other, Group()).folder
    (folder / STATE).touch()
    assert main(["train", *data, "--runs", str(tmp_path), "--resume"]) == REFUSED
    assert "was begun with other data" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", '{"name": "x"}', '{"recipe": {}, "task": {}}'])
def test_a_beginning_that_cannot_be_read_is_one_line(tmp_path: Path, content: str) -> None:
    (begun(tmp_path, STATE) / BEGUN).write_text(content)
    with pytest.raises(RunMissing, match="is damaged, or of an older version"):
        cut_off(tmp_path)
