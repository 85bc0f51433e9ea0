import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.conftest import FASHION, TINY, Make, trained, weights
from training import checkpoint, loop
from training.checkpoint import CHECKPOINT, CURVE, load
from training.config import PRECISIONS
from training.data.augmentation import augmentation
from training.data.examples import Examples
from training.distributed import Group, Stopped
from training.learner import Learner, prepare
from training.loop import Diverged, NothingKept, judge, logits_of, train
from training.networks.table import build


def test_training_learns(tmp_path: Path, made: tuple[Examples, Examples]) -> None:
    recipe = replace(TINY, epochs=12, width=4, averaging=0.5, flip=0.0, shift=0, erase=0.0, warmup=0.1)
    outcome = train(recipe, FASHION.task, *made, tmp_path)
    assert outcome.best.validation_accuracy > 0.8
    assert not outcome.interrupted


def test_same_seed_same_weights_other_seed_other_weights(tmp_path: Path, made: tuple[Examples, Examples]) -> None:
    once, again, other = (trained(tmp_path / name, made, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4)))
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["head.weight"], other["head.weight"])


def test_the_curve_has_a_row_an_epoch(tmp_path: Path, made: tuple[Examples, Examples]) -> None:
    train(TINY, FASHION.task, *made, tmp_path)
    with (tmp_path / CURVE).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(0 <= float(row["validation_accuracy"]) <= 1 for row in rows)


def test_the_checkpoint_is_the_epoch_best_on_the_validation_split(
    tmp_path: Path, made: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([(1.0, 0.3), (1.0, 0.6), (1.0, 0.5)])
    states = []

    def judged(network: torch.nn.Module, examples: Examples, *_: float) -> tuple[float, float]:
        assert examples is made[1]
        states.append(network.state_dict()["module.head.bias"].clone())
        return next(figures)

    monkeypatch.setattr(loop, "judge", judged)
    outcome = train(replace(TINY, epochs=3), FASHION.task, *made, tmp_path)
    assert outcome.best.epoch == 2
    assert torch.equal(weights(tmp_path)["head.bias"], states[1])
    assert not torch.equal(states[1], states[2])


def test_the_kept_accuracy_is_that_of_the_kept_weights(tmp_path: Path, made: tuple[Examples, Examples]) -> None:
    outcome = train(TINY, FASHION.task, *made, tmp_path)
    network = load(TINY, FASHION.task, tmp_path / CHECKPOINT)
    assert judge(network, made[1])[1] == outcome.best.validation_accuracy


def interrupt_after(batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original, given = loop.shuffled, iter(range(batches))

    def shuffled(*arguments: object) -> object:
        for batch in original(*arguments):  # type: ignore[arg-type]
            if next(given, None) is None:
                raise Stopped
            yield batch

    monkeypatch.setattr(loop, "shuffled", shuffled)


def test_an_interruption_keeps_the_best_so_far(
    tmp_path: Path, made: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(7, monkeypatch)  # five batches an epoch
    outcome = train(TINY, FASHION.task, *made, tmp_path)
    assert outcome.interrupted
    assert outcome.best.epoch == 1
    assert weights(tmp_path).keys() == build(TINY, FASHION.task).state_dict().keys()


def test_an_interruption_before_anything_is_kept_says_so(
    tmp_path: Path, made: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(2, monkeypatch)
    with pytest.raises(NothingKept, match="nothing to keep"):
        train(TINY, FASHION.task, *made, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_an_interruption_while_an_epoch_is_stored_is_heeded_after_it(
    tmp_path: Path, made: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group()

    def told(learner: Learner, folder: Path) -> None:
        checkpoint.store(learner, folder)
        group.told_to_stop = len(learner.rows) == TINY.epochs

    with monkeypatch.context() as patch:
        patch.setattr(loop, "store", told)
        outcome = train(TINY, FASHION.task, *made, tmp_path, group)
    assert outcome.interrupted
    assert len(outcome.rows) == TINY.epochs
    again = train(TINY, FASHION.task, *made, tmp_path)
    assert not again.interrupted
    assert again.rows == outcome.rows


def test_whoever_cannot_wait_ends_training_and_no_epoch_counts_that_was_not_stored(
    tmp_path: Path, made: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "store", cut)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, FASHION.task, *made, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()
    assert len(train(TINY, FASHION.task, *made, tmp_path).rows) == TINY.epochs


def test_weights_that_leave_all_bounds_are_one_line(tmp_path: Path, made: tuple[Examples, Examples]) -> None:
    with pytest.raises(Diverged, match=r"no longer a number in epoch 1: try a lower --learning-rate"):
        train(replace(TINY, learning_rate=1e30), FASHION.task, *made, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_every_picture_is_seen_once_an_epoch(examples: Make) -> None:
    made = examples(70, 1)
    numbered = Examples(made.inputs, torch.arange(70))
    batches = list(loop.shuffled(numbered, TINY, 1, Group()))
    assert [len(batch.targets) for batch in batches] == [32, 32, 6]
    order = torch.cat([batch.targets for batch in batches]).tolist()
    assert sorted(order) == list(range(70)) != order


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(
    tmp_path: Path, made: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(TINY, epochs=3)
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    train(recipe, FASHION.task, *made, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(7, patch)  # five batches an epoch
        assert train(recipe, FASHION.task, *made, tmp_path / "cut").interrupted
    assert not train(recipe, FASHION.task, *made, tmp_path / "cut").interrupted
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert (tmp_path / "whole" / CURVE).read_text() == (tmp_path / "cut" / CURVE).read_text()


@pytest.mark.parametrize("batch", [32, 30, 7])
def test_however_many_share_a_batch_they_see_what_one_sees(examples: Make, batch: int) -> None:
    made, recipe = examples(70, 1), replace(TINY, batch=batch)
    alone = list(loop.shuffled(made, recipe, 2, Group()))
    shared = list(zip(*(loop.shuffled(made, recipe, 2, Group(rank, 3)) for rank in range(3)), strict=True))
    assert len(alone) == len(shared)
    for whole, parts in zip(alone, shared, strict=True):
        seen = [part for part in parts if part.weight]
        assert torch.equal(torch.cat([part.inputs for part in seen]), whole.inputs)
        assert torch.equal(torch.cat([part.targets for part in seen]), whole.targets)
        assert sum(part.weight for part in parts) == pytest.approx(3)
        assert all(part.weight == 3 * len(part.targets) / len(whole.targets) for part in seen)


def test_order_and_augmentation_are_other_in_each_epoch_and_for_each_seed(examples: Make) -> None:
    made = examples(64, 1)
    runs = [(1, 1), (2, 1), (1, 4)]
    first = [next(loop.shuffled(made, replace(TINY, seed=seed, flip=0), epoch, Group())) for epoch, seed in runs]
    assert not any(torch.equal(first[0].targets, other.targets) for other in first[1:])
    augment = [augmentation(replace(TINY, seed=seed), made.inputs.shape[1:], epoch) for epoch, seed in runs]
    seen = [each(made.inputs, 0) for each in augment]
    assert not any(torch.equal(seen[0], other) for other in seen[1:])


def test_a_network_begins_with_the_weights_that_it_is_given(tmp_path: Path, made: tuple[Examples, Examples]) -> None:
    given = {"head.bias": torch.arange(10.0)}
    train(replace(TINY, learning_rate=0.0), FASHION.task, *made, tmp_path, begin=given)
    assert torch.equal(weights(tmp_path)["head.bias"], given["head.bias"])


def test_the_logits_of_the_loss_that_is_learnt_by_are_scaled(tmp_path: Path, made: tuple[Examples, Examples]) -> None:
    alike = replace(TINY, epochs=1, batch=160, flip=0.0, shift=0, erase=0.0, label_smoothing=0.0)  # all in one step
    learnt = {}
    for scale in (1.0, 0.2):
        recipe, folder = replace(alike, logit_scale=scale), tmp_path / str(scale)
        folder.mkdir()
        network = prepare(recipe, FASHION.task, made[0], 1, Group(), {}).network.train()
        logarithms = (scale * network(made[0].inputs)).log_softmax(1)
        expected = -logarithms[torch.arange(160), made[0].targets].mean().item()
        [row] = train(recipe, FASHION.task, *made, folder).rows
        assert row.training_loss == pytest.approx(expected, rel=1e-4)
        learnt[scale] = weights(folder)["head.weight"]
    assert not torch.allclose(learnt[1.0], learnt[0.2])


def test_with_bfloat16_the_same_is_learnt_but_for_the_last_digits(
    tmp_path: Path, made: tuple[Examples, Examples]
) -> None:
    recipe = replace(TINY, epochs=12, width=4, averaging=0.5, flip=0.0, shift=0, erase=0.0, warmup=0.1)
    outcomes = {}
    for precision in PRECISIONS:
        (tmp_path / precision).mkdir()
        asked = replace(recipe, precision=precision)
        outcomes[precision] = train(asked, FASHION.task, *made, tmp_path / precision)
    assert outcomes["bfloat16"].best.validation_accuracy > 0.8
    exact, rough = (outcomes[precision].rows[0].training_loss for precision in PRECISIONS)
    assert exact != rough == pytest.approx(exact, rel=0.05)
    assert {value.dtype for value in weights(tmp_path / "bfloat16").values()} <= {torch.float32, torch.int64}


def test_both_losses_of_the_curve_are_of_the_same_kind(tmp_path: Path, made: tuple[Examples, Examples]) -> None:
    recipe = replace(TINY, epochs=1, learning_rate=0.0, logit_scale=0.2, label_smoothing=0.3)
    [row] = train(recipe, FASHION.task, *made, tmp_path).rows
    logits = 0.2 * logits_of(load(recipe, FASHION.task, tmp_path / CHECKPOINT), made[1])
    expected = torch.nn.functional.cross_entropy(logits, made[1].targets, label_smoothing=0.3)
    assert row.validation_loss == pytest.approx(float(expected), rel=1e-5)
