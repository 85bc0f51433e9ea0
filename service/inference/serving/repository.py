"""models/<name>/<version>/ on disk: what is there, what came of it, and which version answers."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from service.errors import ModelRejected, NotReady, UnknownName
from service.inference.serving.model import ServedModel

FILE = "model.onnx"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """One version that was found: served, or the reason why not."""

    number: str
    served: ServedModel | None
    reason: str | None = None

    @property
    def state(self) -> Literal["ready", "failed"]:
        """`ready` or `failed`."""
        return "ready" if self.served else "failed"


@dataclass
class Entry:
    """One model: its versions by number, oldest first."""

    name: str
    versions: dict[str, Version] = field(default_factory=dict)

    def served(self) -> list[ServedModel]:
        """The versions that answer."""
        return [version.served for version in self.versions.values() if version.served]

    @property
    def default(self) -> Version:
        """The version that answers without a number: the newest that is ready, else the newest."""
        newest_first = list(reversed(self.versions.values()))
        return next((version for version in newest_first if version.served), newest_first[0])


class ModelRepository:
    """All models of one folder. `load(name, version, file)` makes a served model or raises ModelRejected.

    `loaded` says whether every version that was found has been tried.
    """

    def __init__(self, folder: Path, load: Callable[[str, str, Path], ServedModel]) -> None:
        self._folder = folder
        self._load = load
        self._entries: dict[str, Entry] = {}
        self.loaded = False

    def load_all(self) -> dict[str, Entry]:
        """Try every version that is there, on whatever thread; nobody sees what was found until it is adopted."""
        entries: dict[str, Entry] = {}
        for name, number, file in _found(self._folder):
            entry = entries.setdefault(name, Entry(name))
            entry.versions[number] = self._try(name, number, file)
        if not entries:
            log.error("no model in %s: expected NAME/VERSION/%s", self._folder.absolute(), FILE)
        return entries

    def adopt(self, entries: dict[str, Entry]) -> None:
        """Answer with these from now on; their models must have been started."""
        self._entries = entries
        self.loaded = True

    def _try(self, name: str, number: str, file: Path) -> Version:
        try:
            return Version(number, self._load(name, number, file))
        except ModelRejected as error:
            reason = str(error)
        except Exception as error:  # one strange file must not keep the others from being served
            log.exception("loading %s failed in a way that nobody foresaw", file)
            reason = f"{type(error).__name__}: {error}"
        log.error("model %s version %s is not served: %s", name, number, reason)
        return Version(number, None, reason)

    @property
    def ready(self) -> bool:
        """Whether at least one model answers."""
        return any(self.served())

    def served(self) -> Iterator[ServedModel]:
        """Every version that answers."""
        for entry in self._entries.values():
            yield from entry.served()

    def entries(self) -> list[Entry]:
        """Every model that was found, by name."""
        return list(self._entries.values())

    def entry(self, name: str) -> Entry:
        """The model called `name`. Raises UnknownName, or NotReady before everything has been tried."""
        if not self.loaded:
            raise NotReady("the models are still being loaded")
        if name not in self._entries:
            raise UnknownName("model", name, self._entries)
        return self._entries[name]

    def version(self, name: str, number: str | None = None) -> Version:
        """One version of a model, by default the one that answers. Raises UnknownName."""
        entry = self.entry(name)
        if number is None:
            return entry.default
        if number not in entry.versions:
            raise UnknownName("version", number, entry.versions)
        return entry.versions[number]

    def find(self, name: str, number: str | None = None) -> ServedModel:
        """The served model. Raises UnknownName, or NotReady where there is one but it does not answer."""
        version = self.version(name, number)
        if version.served is None:
            raise NotReady(f"version {version.number} of model {name!r} is not served: {version.reason}")
        return version.served


def _found(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(model, version, file) of every model file, models by name, versions by number."""
    files = [file for file in folder.glob(f"*/*/{FILE}") if is_version(file)]
    for file in sorted(files, key=lambda file: (file.parent.parent.name, int(file.parent.name))):
        yield file.parent.parent.name, file.parent.name, file


def is_version(file: Path) -> bool:
    """Whether a file lies where that of a version does: in a folder whose name is its number."""
    name = file.parent.name
    return file.name == FILE and name.isascii() and name.isdecimal() and not name.startswith("0")
