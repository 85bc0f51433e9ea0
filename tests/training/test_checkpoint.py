from pathlib import Path

import pytest
import torch

from tests.training.conftest import FASHION, TINY, trained, weights
from training import checkpoint, loop
from training.checkpoint import CHECKPOINT, CURVE, STATE, keep, load
from training.data.examples import Examples
from training.folders import RunMissing
from training.learner import Learner
from training.loop import train
from training.networks.table import build


def test_an_interruption_while_writing_leaves_the_checkpoint_before(
    tmp_path: Path, made: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = trained(tmp_path / "run", made)

    def cut(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", cut)
    with pytest.raises(KeyboardInterrupt):
        keep(build(TINY, FASHION.task), tmp_path / "run" / CHECKPOINT)
    assert weights(tmp_path / "run").keys() == before.keys()
    assert not list((tmp_path / "run").glob("*.partial"))


@pytest.mark.parametrize("content", [b"", b"no state", {}, {"network": {"stem.conv.weight": torch.ones(1)}}])
def test_a_state_that_cannot_be_gone_on_with_is_one_line(
    tmp_path: Path, made: tuple[Examples, Examples], content: bytes | dict[str, object]
) -> None:
    if isinstance(content, bytes):
        (tmp_path / STATE).write_bytes(content)
    else:
        torch.save(content, tmp_path / STATE)
    with pytest.raises(RunMissing, match=r"state\.pt is damaged, or of another network: ") as caught:
        train(TINY, FASHION.task, *made, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_killed_before_its_best_weights_were_written_writes_them_later(
    tmp_path: Path, made: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {1: 0.3, 2: 0.6}
    monkeypatch.setattr(loop, "judge", lambda network, *_: (1.0, figures[1 + int(network.n_averaged > 5)]))
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    train(TINY, FASHION.task, *made, tmp_path / "whole")
    publish = checkpoint.publish

    def killed(learner: Learner, folder: Path) -> None:
        if len(learner.rows) == 2:
            raise SystemExit
        publish(learner, folder)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "publish", killed)
        with pytest.raises(SystemExit):
            train(TINY, FASHION.task, *made, tmp_path / "killed")
    train(TINY, FASHION.task, *made, tmp_path / "killed")
    whole, later = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], later[name]) for name in whole)
    assert (tmp_path / "whole" / CURVE).read_text() == (tmp_path / "killed" / CURVE).read_text()


def test_weights_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"no weights")
    for path in (tmp_path / CHECKPOINT, tmp_path / "absent"):
        with pytest.raises(RunMissing, match="does not fit"):
            load(TINY, FASHION.task, path)
