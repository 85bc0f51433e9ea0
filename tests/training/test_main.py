import re
import signal
from pathlib import Path

import pytest

from tests.training.processes import said_until, started
from training import records
from training.__main__ import REFUSED, main
from training.begun import BEGUN
from training.checkpoint import CHECKPOINT, CURVE
from training.commands.places import INTERRUPTED
from training.data.examples import DataSet, Examples
from training.loop import train
from training.runs import RECORD, read

SMALL = ["--width", "2", "--epochs", "1", "--held-out", "40"]


@pytest.fixture
def folders(data_dir: Path, tmp_path: Path) -> list[str]:
    return ["--data-dir", str(data_dir), "--runs", str(tmp_path / "runs"), "--models", str(tmp_path / "models")]


def test_train_export_evaluate(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "fashion-mnist", *folders, *SMALL, "--export"]) == 0
    assert {path.name for path in (tmp_path / "runs/fashion-mnist/1").iterdir()} == {
        *(BEGUN, CHECKPOINT, CURVE, RECORD, records.REPORT, records.REPORT_TEXT),
        *(records.CURVE_PICTURE, records.KERNELS_PICTURE, records.CONFUSION_PICTURE, records.RELIABILITY_PICTURE),
    }
    stated = re.findall(r"accuracy \S+ on 60 inputs", capsys.readouterr().out)
    assert len(stated) == 1

    assert main(["export", *folders]) == 0
    assert {path.name for path in (tmp_path / "models/fashion-mnist").iterdir()} == {"1", "2"}
    capsys.readouterr()

    assert main(["evaluate", *folders]) == 0
    assert main(["evaluate", *folders, "--run", str(tmp_path / "runs/fashion-mnist/1")]) == 0
    text = capsys.readouterr().out
    assert "models/fashion-mnist/2/weights.safetensors, by PyTorch" in text
    assert "models/fashion-mnist/2/model.onnx, by onnxruntime" in text
    assert re.findall(r"accuracy \S+ on 60 inputs", text) == 3 * stated


def test_several_seeds_are_several_runs(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *folders, *SMALL, "--seeds", "4,5"]) == 0
    recorded = [read(tmp_path / f"runs/fashion-mnist/{number}") for number in (1, 2)]
    assert [run.recipe.seed for run in recorded] == [4, 5]
    assert "mean ± standard deviation of 2 runs: validation " in capsys.readouterr().out
    assert main(["train", *folders, *SMALL, "--seed", "5"]) == 0
    assert read(tmp_path / "runs/fashion-mnist/3").validation_accuracy == recorded[1].validation_accuracy


def test_the_test_set_is_read_once_after_the_checkpoint_was_chosen(
    folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    read_test = DataSet.read_test

    def watched_train(*arguments: object, **named: object) -> object:
        outcome = train(*arguments, **named)  # type: ignore[arg-type]
        events.append("trained")
        return outcome

    def watched_read(self: DataSet, folder: Path) -> Examples:
        events.append("test set read")
        return read_test(self, folder)

    monkeypatch.setattr("training.commands.train.train", watched_train)
    monkeypatch.setattr(DataSet, "read_test", watched_read)
    assert main(["train", *folders, *SMALL]) == 0
    assert events == ["trained", "test set read"]


def test_a_version_is_never_written_twice(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models/fashion-mnist/4").mkdir(parents=True)
    assert main(["train", *folders, *SMALL]) == 0
    assert main(["export", *folders, "--version", "4"]) == REFUSED
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "cats"], "unknown recipe 'cats'; the nearest are:"),
        (["train", "--network", "plane"], "unknown network 'plane'; the nearest are: plain"),
        (["train", "--data", "fashion"], "unknown data set 'fashion'"),
        (["train", "--held-out", "200"], "--held-out 200 leaves nothing to learn from"),
        (["train", "--epochs", "0"], "--epochs must be at least 1, not 0"),
        (["train", "--seeds", "1"], "--seeds wants different seeds from 0 on, at least 2"),
        (["train", "--seeds", "1,1,2"], "--seeds wants different seeds from 0 on, at least 2"),
        (["train", "--seeds", "1,x"], "--seeds wants different seeds from 0 on, at least 2"),
        (["train", "--seeds", "1,2", "--export"], "--export is about one"),
        (["train", "--seeds", "1,2", "--seed", "3"], "--seed is about one"),
        (["train", "--resume"], "nothing to resume"),
        (["export"], "holds nothing yet"),
        (["export", "--run", "nowhere"], "nowhere holds no finished run"),
        (["export", "--weights", "w.pt"], "--name, --weights, --labels and --pictures are about a --module"),
        (["evaluate"], "holds nothing yet"),
        (["evaluate", "--version", "7"], "is not there, or holds no card"),
    ],
)
def test_a_refusal_is_one_line_and_status_2(
    folders: list[str], arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([arguments[0], *folders, *arguments[1:]]) == REFUSED
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert sentence in said
    assert said.count("\n") == 1


def test_ctrl_c_keeps_the_best_so_far(folders: list[str], tmp_path: Path) -> None:
    arguments = [
        "train",
        "fashion-mnist",
        *folders,
        "--width",
        "2",
        "--epochs",
        "100000",
        "--held-out",
        "40",
        "--export",
    ]
    with started("-W", "error", "-m", "training", *arguments) as process:
        said = said_until(process, "epoch 2: validation accuracy")
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        said += process.stdout.read()
        process.wait()
    assert process.returncode == INTERRUPTED, said
    assert "interrupted: the best so far is kept" in said
    assert "Traceback" not in said
    run = read(tmp_path / "runs/fashion-mnist/1")
    assert run.interrupted
    assert run.epoch >= 1
    run.network()
    assert not (tmp_path / "models").exists()
    assert main(["export", *folders]) == 0


@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_version_that_the_service_would_not_serve_is_refused(
    folders: list[str], capsys: pytest.CaptureFixture[str], number: str, tmp_path: Path
) -> None:
    assert main(["train", "fashion-mnist", *folders, *SMALL]) == 0
    assert main(["export", *folders, "--version", number]) == REFUSED
    assert "--version must be at least 1" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_a_folder_that_cannot_be_made_is_one_line(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    runs = ["--data-dir", str(data_dir), "--runs", str(tmp_path / "file")]
    assert main(["train", "fashion-mnist", *runs, *SMALL]) == REFUSED
    assert capsys.readouterr().err.startswith("error: ")


def test_a_seed_that_torch_cannot_take_is_refused(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "fashion-mnist", *folders, "--seed", str(2**63)]) == REFUSED
    assert "--seed must be" in capsys.readouterr().err
