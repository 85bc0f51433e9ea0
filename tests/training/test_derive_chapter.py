"""The chapter is what the code gives now, in both languages."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from service.errors import InvalidRequest, UnknownName
from training.__main__ import main
from training.derive.chapter import CHAPTERS, MARKED, PICTURES, SAMPLE, encoded, filled, numbers, table, write
from training.derive.pictures import BAND, LINE, coloured, grey, matrices, pictures

DOCS = Path(__file__).parents[2] / "docs"
ENGLISH, CHINESE = TEXTS = [(DOCS / name).read_text("utf-8") for name in CHAPTERS]


def used(text: str) -> list[str]:
    return [match[1] for match in re.finditer(r"<!-- derive (\S+) -->", text)]


def bare(text: str) -> str:
    """The text without what is computed, without addresses and without what is a number by its layout."""
    text = MARKED.sub("", text)
    return "\n".join(line for line in text.splitlines() if "https://" not in line and "--image" not in line)


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_marked_number_is_what_the_code_computes(name: str) -> None:
    text = (DOCS / name).read_text("utf-8")
    assert filled(text) == text, "run python -m training derive --write docs"


@pytest.mark.parametrize("text", TEXTS, ids=CHAPTERS)
def test_no_number_worth_computing_is_written_by_hand(text: str) -> None:
    words = re.sub(r"float32|conv2d|180°", "", bare(text))
    assert re.findall(r"\d[\d,.]+\d|\d\d|\d\s*%", words) == []


@pytest.mark.parametrize("text", TEXTS, ids=CHAPTERS)
def test_no_mark_begins_a_line(text: str) -> None:
    """Markdown would take the whole line for HTML."""
    assert not re.search(r"^[\s>*-]*<!--", text, re.MULTILINE)
    assert len(used(text)) == text.count("<!-- end -->") == len(MARKED.findall(text))


def test_both_languages_say_the_same_with_the_same_pictures() -> None:
    for found in (r"\]\((derive/.*?)\)", r"^(```\w+)$", r"^(#+) ", r"^(\|---.*)$"):
        english, chinese = (re.findall(found, text, re.MULTILINE) for text in TEXTS)
        assert english == chinese
        assert english
    english, chinese = (
        [name for name in used(text) if not re.search(r"\.(million|billion|wan|yi)$", name)] for text in TEXTS
    )
    assert sorted(english) == sorted(chinese)
    assert len(used(ENGLISH)) == len(used(CHINESE))


def test_the_large_units_agree() -> None:
    known = numbers()
    for count, english, chinese in (("pixels", 10**6, 10**4), ("numbers", 10**6, 10**4), ("wrong", 10**6, 10**8)):
        pair = [name for name in known if name.startswith(f"photo.{count}.") and not name.endswith("neurons")]
        one, other = (float(known[name]) for name in pair)
        assert one * english == pytest.approx(other * chinese)
    for count in ("grey", "asked"):
        assert float(known[f"photo.{count}.billion"]) * 10 == float(known[f"photo.{count}.yi"])


def test_the_numbers_are_those_of_the_issue() -> None:
    known = numbers()
    expected = {
        "photo.pixels.million": "12",
        "photo.pixels.wan": "1200",
        "photo.grey.billion": "1.2",
        "photo.asked.billion": "3.6",
        "photo.asked.yi": "36",
        "photo.wrong.million": "120",
        "photo.wrong.yi": "1.2",
        "photo.wrong.neurons": "10",
        "photo.gigabytes": "14.4",
        "photo.local": "27",
        "photo.channels": "2,700",
        "small.dense": "144",
        "small.invariant": "64",
        "small.sets": "36",
        "small.local": "16",
        "small.fewer": "88.89 %",
        "band.dense": "576",
        "band.invariant": "81",
        "band.local": "9",
        "size.alone": "4",
        "size.padded": "6",
        "size.strided": "3",
        "size.pooled": "3",
        "channels.weights": "108",
        "point.weights": "12",
        "hand.correlated": "37 47<br>67 77",
        "hand.turned": "4 3<br>2 1",
        "hand.convolved": "23 33<br>53 63",
        "step": "0 0 0 16 16 16",
        "made.blur": "0 4 12 16",
        "kernel.blur": "1 2 1<br>2 4 2<br>1 2 1<br>÷ 16",
        "kernel.vertical": "-1 0 1<br>-2 0 2<br>-1 0 1",
    }
    assert {name: known[name] for name in expected} == expected


def test_what_nobody_computes_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"photo\.local"):
        filled("a <!-- derive photo.lokal -->1<!-- end --> b")
    assert filled("a <!-- derive photo.local -->1\n2<!-- end --> b") == "a <!-- derive photo.local -->27<!-- end --> b"


def test_the_pictures_are_what_the_code_draws() -> None:
    drawn = pictures(np.asarray(Image.open(DOCS / SAMPLE)))
    assert {path.name for path in (DOCS / PICTURES).iterdir()} == set(drawn)
    for name, picture in drawn.items():
        committed = np.asarray(Image.open(DOCS / PICTURES / name))
        assert np.array_equal(committed, np.asarray(picture)), f"{name}: run python -m training derive --write docs"
        assert f"]({PICTURES}/{name})" in ENGLISH
        assert (DOCS / PICTURES / name).stat().st_size < 20_000


def test_writing_brings_a_stale_chapter_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "samples").mkdir()
    shutil.copy(DOCS / SAMPLE, tmp_path / SAMPLE)
    for name, text in zip(CHAPTERS, TEXTS, strict=True):
        (tmp_path / name).write_text(MARKED.sub(r"\1?\3", text), "utf-8")
    assert main(["derive", "--write", str(tmp_path)]) == 0
    written = re.findall(rf"^written: {re.escape(str(tmp_path))}/(.*)$", capsys.readouterr().out, re.MULTILINE)
    assert set(written) == {
        *CHAPTERS,
        *(f"{PICTURES}/{path.name}" for path in (DOCS / PICTURES).iterdir()),
    }
    assert [(tmp_path / name).read_text("utf-8") for name in CHAPTERS] == TEXTS
    assert encoded(Image.open(tmp_path / PICTURES / "band.png")).startswith(b"\x89PNG")


def test_nothing_is_written_into_another_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="is not the folder of the chapter"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_colours_tell_the_sign_and_nothing_is_white() -> None:
    [colours] = coloured(torch.tensor([[0.0, 4.0, -4.0, 2.0]]))
    [[white, blue, orange, pale]] = colours.tolist()
    assert white == [255, 255, 255]
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    assert blue < pale < white
    [beside, _] = coloured(torch.tensor([[2.0]]), torch.tensor([[-4.0]]))
    assert beside.tolist() == [[pale]]
    assert grey(torch.tensor([[-5.0, 100.4, 300.0]])).tolist() == [[[0] * 3, [100] * 3, [255] * 3]]


def test_a_weight_has_one_colour_in_all_matrices_and_lines_part_the_blocks() -> None:
    tied, local = matrices(BAND, 7, ("invariant", "local"), rows=4, columns=6)
    here = (local != 255).any(-1)
    assert np.array_equal(tied[here], local[here])
    lines = (tied == LINE).all(-1)
    assert lines.all(1).nonzero()[0].tolist() == [0, *(1 + 7 * row for row in (4, 8, 12)), 1 + 7 * 16]
    assert lines.all(0).nonzero()[0].tolist() == [0, *(1 + 7 * column for column in (6, 12, 18, 24, 30)), 1 + 7 * 36]


def test_a_kernel_is_shown_in_whole_numbers() -> None:
    assert table(torch.tensor([[[[0.5, -0.25], [0.0, 1.0]]]])) == "2 -1<br>0 4<br>÷ 4"
