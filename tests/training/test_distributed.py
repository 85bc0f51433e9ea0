"""Real processes under PyTorch's own launcher, on the CPU."""

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from service.errors import InvalidRequest
from tests.training.conftest import FASHION, TINY
from tests.training.processes import said_until, started
from training import distributed
from training.__main__ import main
from training.begun import read_begun
from training.checkpoint import CHECKPOINT, CURVE
from training.config import Recipe, command
from training.data.examples import split
from training.distributed import Group, Stopped, own_device, stopping
from training.learner import prepare
from training.loop import shuffled
from training.runs import read

LAUNCHER = ["-m", "torch.distributed.run", "--standalone"]
DENSE = ["--network", "dense", "--width", "8", "--held-out", "40", "--averaging", "0.5"]
LONG = [*DENSE, "--epochs", "100000"]

COUNTING = """
import sys
from pathlib import Path
from training import loop
from training.__main__ import main
from training.distributed import Group, Stopped

steps = 0

def learn(learner, batches, bar, learn=loop.learn):
    def counted():
        global steps
        for batch in batches:
            steps += 1
            yield batch

    return learn(learner, counted(), bar)

def heed(group, heed=Group.heed):
    try:
        heed(group)
    except Stopped:
        Path(sys.argv[1], f"steps of {group.rank}").write_text(str(steps))
        raise

loop.learn, Group.heed = learn, heed
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def places(data_dir: Path) -> list[str]:
    return ["--data-dir", str(data_dir)]


def training(
    folder: Path, flags: list[str], processes: int = 1, program: Sequence[str] = ("-m", "training")
) -> AbstractContextManager["subprocess.Popen[str]"]:
    launcher = [*LAUNCHER, f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [*launcher, *program, "train", "fashion-mnist", "--runs", str(folder), *flags]
    return started(*command, OMP_NUM_THREADS="1", PYTHONPATH=str(Path(__file__).parents[2]))


def run(folder: Path, flags: list[str], processes: int = 1) -> str:
    with training(folder, flags, processes) as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "fashion-mnist/1" / CHECKPOINT)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_shares_are_all_of_a_batch_and_none_twice() -> None:
    for count in (1, 2, 6, 30, 32):
        shares = [range(count)[Group(rank, 4).share(count)] for rank in range(4)]
        assert [place for share in shares for place in share] == list(range(count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_that_share_a_batch_take_the_steps_of_one(tmp_path: Path, places: list[str], processes: int) -> None:
    # 160 to learn from: batches of 53 are shared unevenly, and of the last one of 1 most get nothing
    flags = [*places, *DENSE, "--epochs", "2", "--batch", "53"]
    assert main(["train", "fashion-mnist", "--runs", str(tmp_path / "one"), *flags]) == 0
    said = run(tmp_path / "many", flags, processes)
    one, many = weights(tmp_path / "one"), weights(tmp_path / "many")
    assert all(torch.allclose(one[name], many[name], rtol=0, atol=1e-6) for name in one)
    curves = [(tmp_path / name / "fashion-mnist/1" / CURVE).read_text().split(",") for name in ("one", "many")]
    for left, right in zip(*map(numbers_of, curves), strict=True):
        assert left == pytest.approx(right, abs=1e-5)
    assert said.count("epoch 1: validation accuracy") == said.count("on 60 inputs") == 1
    assert [path.name for path in (tmp_path / "many/fashion-mnist").iterdir()] == ["1"]


def flags_of(recipe: Recipe) -> list[str]:
    return command("fashion-mnist", recipe).removeprefix("python -m training train fashion-mnist").split()


def numbers_of(cells: list[str]) -> list[float]:
    return [float(part) for cell in cells for part in cell.split() if part[0].isdigit()]


def test_normalisations_are_those_of_the_leaders_share(tmp_path: Path, places: list[str], data_dir: Path) -> None:
    recipe = replace(TINY, epochs=1, learning_rate=0.0, averaging=0.5)  # nothing but the statistics changes
    run(tmp_path, [*places, *flags_of(recipe)], 2)
    learnt, _ = split(FASHION.read_training(data_dir), recipe.held_out, recipe.seed)
    leader = prepare(recipe, FASHION.task, learnt, 1, Group(), {})
    for batch in shuffled(learnt, recipe, 1, Group(0, 2)):
        leader.network.train()(batch.inputs)
        leader.averaged.update_parameters(leader.network)
    expected = {name: values for name, values in leader.averaged.module.state_dict().items() if "running" in name}
    assert expected
    assert all(torch.allclose(weights(tmp_path)[name], values, atol=1e-5) for name, values in expected.items())


def test_the_checkpoint_of_several_processes_is_judged_right(
    tmp_path: Path, places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = run(tmp_path, [*places, "--width", "2", "--held-out", "40", "--epochs", "2"], 2)
    capsys.readouterr()
    assert main(["evaluate", *places, "--run", str(tmp_path / "fashion-mnist/1")]) == 0
    [stated] = re.findall(r"accuracy \S+ on 60 inputs", said)
    assert stated in capsys.readouterr().out


def test_a_process_that_dies_ends_all_with_one_message_and_the_run_resumes(tmp_path: Path, places: list[str]) -> None:
    with training(tmp_path, [*places, *LONG], 2) as launcher:
        said = said_until(launcher, "epoch 2: validation accuracy")
        ranks = children(launcher.pid)
        assert len(ranks) == 2
        os.kill(max(ranks), signal.SIGKILL)
        assert launcher.stdout is not None
        said += launcher.stdout.read()
    assert launcher.returncode not in (0, None), said
    assert said.count("error: another process of this training ended") == 1
    assert "--resume" in said
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
    goes_on_alone(tmp_path, places)


def test_ctrl_c_ends_all_processes_after_the_same_step_and_keeps_the_best(tmp_path: Path, places: list[str]) -> None:
    counting = tmp_path / "counting.py"
    counting.write_text(COUNTING)
    with training(tmp_path, [*places, *LONG], 2, [str(counting), str(tmp_path)]) as launcher:
        said = said_until(launcher, "epoch 2: validation accuracy")
        launcher.send_signal(signal.SIGINT)
        assert launcher.stdout is not None
        said += launcher.stdout.read()
    assert launcher.returncode not in (0, None), said
    assert said.count("interrupted: the best so far is kept") == 1, said
    steps = [int((tmp_path / f"steps of {rank}").read_text()) for rank in range(2)]
    assert steps[0] == steps[1] > 2
    assert read(tmp_path / "fashion-mnist/1").interrupted
    goes_on_alone(tmp_path, places)


def test_asking_once_waits_for_the_end_of_a_step_and_asking_twice_does_not() -> None:
    group = Group()
    with stopping(group):
        group.heed()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            group.heed()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def goes_on_alone(folder: Path, places: list[str]) -> None:
    """Another number of processes takes over from where the first ones were."""
    done = len((folder / "fashion-mnist/1" / CURVE).read_text().splitlines()) - 1
    with training(folder, [*places, "--resume"]) as process:
        said = said_until(process, f"epoch {done + 1}: validation accuracy")
    assert f"epoch {done}: validation accuracy" not in said
    assert [machine.processes for machine in read_begun(folder / "fashion-mnist/1").machines] == [2, 1]


def test_a_refusal_is_said_once(tmp_path: Path, places: list[str]) -> None:
    with training(tmp_path, [*places, "--resume"], 2) as launcher:
        said, _ = launcher.communicate()
    assert launcher.returncode not in (0, None)
    assert said.count("error: ") == 1, said
    assert "nothing to resume" in said


def test_each_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert own_device(1) == torch.device("cuda", 1)
    assert taken == [1]
    with pytest.raises(InvalidRequest, match="at most 2, the GPUs"):
        own_device(2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert own_device(5) == distributed.CPU
