"""Versions: which folder of a model is meant, and which the next one gets."""

from pathlib import Path

from service.errors import InvalidRequest
from training.export import MODEL, ExportRefused
from training.folders import following, newest


def version_of(parent: Path, number: int | None) -> Path:
    """The folder of version `number` of the model in `parent`, or of the newest. Raises RunMissing."""
    return parent / str(number) if number is not None else newest(parent, MODEL)


def free_version(parent: Path, number: int | None) -> Path:
    """The folder of version `number` of the model in `parent`, or of the next one; it is not there, and not made.

    Raises InvalidRequest, ExportRefused.
    """
    folder = parent / str(number) if number is not None else following(parent)
    if number is not None and number < 1:
        raise InvalidRequest(f"--version must be at least 1, not {number}: the service serves no other")
    if folder.exists():
        raise ExportRefused(f"{folder} is there already: a version is never written twice")
    return folder
