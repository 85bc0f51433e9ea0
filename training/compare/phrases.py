"""Phrases of the report: paragraphs, tables, and numbers as text."""

from collections.abc import Sequence
from statistics import mean
from textwrap import wrap

from training.compare.figures import NETWORKS, Comparison, Figures, Size, Variant

WIDE = 118
SAID: dict[Variant, str] = {"untaught": "not taught", "taught": "taught"}


def paragraph(text: str) -> str:
    """A text, however it is broken into lines, as a paragraph of Markdown."""
    return "\n".join(wrap(" ".join(text.split()), WIDE, break_long_words=False, break_on_hyphens=False))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def picture(said: str, place: str) -> str:
    """A picture of Markdown."""
    return f"![{said}]({place})"


def lesson(figures: Figures) -> str:
    """What the training pictures of the taught variant went through."""
    done = [said for said, much in (("shifting", figures.shift), ("covering", figures.erase)) if much]
    return f"{' and '.join(done)} the training pictures{', both at once,' if len(done) > 1 else ''}"


def normalising(figures: Figures) -> str:
    """Say which network normalises between layers, where only one does."""
    names = [network for network in NETWORKS if figures.contenders[network].normalises]
    return f"Only the {names[0]} network normalises between layers." if len(names) == 1 else ""


def judged(figures: Figures) -> str:
    """Which test pictures are shifted and covered."""
    whole = figures.judged_on == figures.tested_on
    return f"{'All' if whole else 'The first'} {figures.judged_on:,} test pictures"


def spread(values: Sequence[float], digits: int) -> str:
    """The mean; of several, with the least and the greatest."""
    middle, least, most = (f"{value:,.{digits}f}" for value in (mean(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({least} to {most})"


def difference(compared: Comparison) -> str:
    """How far the maps went along with a shift: to the last digit where that is claimed, else in percent."""
    if not compared.cells.is_integer():
        return f"*{compared.mean:.0%}*"
    return f"{compared.largest:.0e}" if compared.largest else "0"


def listed(names: Sequence[object]) -> str:
    """Names as a sentence has them: "a, b and c"."""
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def counted(count: int, what: str) -> str:
    """A count of things, in words where it is one."""
    return f"one {what}" if count == 1 else f"{count:,} {what}s"


def extents(size: Size) -> str:
    """A picture's extents."""
    return f"{size.height}×{size.width}×{size.channels}"
