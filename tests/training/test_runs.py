from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.conftest import FASHION, TINY, Make
from training.begun import BEGUN, Machine
from training.checkpoint import CHECKPOINT, keep
from training.distributed import Group
from training.export import provenance
from training.folders import RunMissing, following, newest
from training.learner import Epoch
from training.loop import Outcome
from training.networks.table import build
from training.resuming import begin
from training.runs import RECORD, Run, read, record


def filled(parent: Path, *names: str) -> None:
    for name in names:
        (parent / name).mkdir(parents=True)
        (parent / name / RECORD).touch()


def test_the_first_folder_is_number_one(tmp_path: Path) -> None:
    assert following(tmp_path / "none yet").name == "1"


def test_numbers_count_as_numbers_and_other_names_do_not_count(tmp_path: Path) -> None:
    filled(tmp_path, "9", "10", ".11.partial", "notes")
    assert newest(tmp_path, RECORD).name == "10"
    assert following(tmp_path).name == "11"


def test_the_newest_folder_is_one_that_holds_the_file(tmp_path: Path) -> None:
    filled(tmp_path, "1")
    (tmp_path / "2").mkdir()
    assert newest(tmp_path, RECORD).name == "1"


def test_nothing_there_names_the_command_that_fills_it(tmp_path: Path) -> None:
    with pytest.raises(RunMissing, match=r"python -m training train .* --export"):
        newest(tmp_path, RECORD)


def test_a_record_reads_back_as_the_run(tmp_path: Path, examples: Make) -> None:
    begun = begin(tmp_path / "1", "fashion-mnist", TINY, FASHION.task, Group(), "--from models/x/1", "x/1")
    keep(build(TINY, FASHION.task), begun.folder / CHECKPOINT)
    outcome = Outcome(Epoch(2, 1.0, 0.5, 0.9, 0.6), interrupted=True)
    run = record(begun, outcome, examples(40, 3))
    assert read(begun.folder) == run
    assert run.begun == begun
    assert (run.epoch, run.validation_accuracy, run.interrupted) == (2, 0.6, True)


def test_the_card_tells_the_versions_that_trained_not_those_that_export(tmp_path: Path) -> None:
    begun = begin(tmp_path / "1", "fashion-mnist", TINY, FASHION.task, Group())
    begun = replace(begun, machines=(Machine({"torch": "1.0"}, "cpu", 1),))
    run = Run(begun, 2, 0.6, interrupted=False, temperature=1.0)
    assert provenance(run, FASHION).versions["torch"] == "1.0"


@pytest.mark.parametrize("content", [None, "", "[]", '{"name": "x"}', '{"recipe": {"unheard": 1}}'])
def test_a_record_that_cannot_be_read_is_one_line(tmp_path: Path, content: str | None) -> None:
    folder = begin(tmp_path / "1", "fashion-mnist", TINY, FASHION.task, Group()).folder
    if content is not None:
        (folder / RECORD).write_text(content)
    with pytest.raises(RunMissing, match="holds no finished run"):
        read(folder)


def test_a_run_of_an_older_version_says_so(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text('{"name": "fashion-mnist", "epoch": 2}')
    (tmp_path / BEGUN).write_text('{"name": "fashion-mnist", "recipe": {}, "task": {}, "versions": {}}')
    with pytest.raises(RunMissing, match="is damaged, or of an older version"):
        read(tmp_path)
