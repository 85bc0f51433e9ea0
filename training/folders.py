"""Numbered folders: runs/<name>/<n>/ of training, models/<name>/<n>/ of what is served."""

from pathlib import Path

from service.errors import ConvscopeError


class RunMissing(ConvscopeError):
    """No run, or no model version, where one was asked for; or one that cannot be read."""


def numbers(parent: Path) -> list[int]:
    """List the numbers of `parent`'s numbered folders, in order; none where there is no `parent`."""
    if not parent.is_dir():
        return []
    return sorted(int(path.name) for path in parent.iterdir() if path.is_dir() and path.name.isdecimal())


def newest(parent: Path, holding: str) -> Path:
    """Find the folder of the highest number that holds a file called `holding`. Raises RunMissing."""
    known = all_holding(parent, holding)
    if not known:
        raise RunMissing(f"{parent} holds nothing yet: `python -m training train {parent.name} --export` fills it")
    return known[0]


def all_holding(parent: Path, name: str) -> list[Path]:
    """List the numbered folders that hold a file called `name`, the newest first."""
    folders = (parent / str(number) for number in reversed(numbers(parent)))
    return [folder for folder in folders if (folder / name).is_file()]


def following(parent: Path) -> Path:
    """Name the folder after the newest; it is not made."""
    return parent / str(max(numbers(parent), default=0) + 1)
