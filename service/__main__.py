"""`python -m service [serve [FILE] | check FILE]`: run the service, or look at an ONNX file; see `--help` of each."""

import signal
import sys

if __name__ == "__main__":
    # Process 1 of a container ignores a signal that it has no handler for, and the imports below take a second.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

import argparse
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from pydantic import ValidationError

from service.app import create_app
from service.check import MOST_SHOWN, Checked, install
from service.errors import ConvscopeError, InvalidRequest, ProviderUnavailable
from service.inference.contract.card import ModelCard
from service.server import UNCLEAN, Server
from service.settings import PREFIX, Settings

REFUSED = 2
NOT_STARTED = 3  # as uvicorn has it

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a refusal is one line on standard error and exit status 2."""
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except (ConvscopeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    return status


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    top.set_defaults(run=run_serve, file=None)
    commands = top.add_subparsers(metavar="COMMAND")
    serving = commands.add_parser("serve", help="serve the models folder, or one ONNX file (the default)")
    serving.set_defaults(run=run_serve)
    serving.add_argument("file", nargs="?", type=Path, help="serve this file alone, with a card drafted for it")
    checking = commands.add_parser("check", help="say what an ONNX file is, and draft its card")
    checking.set_defaults(run=run_check)
    checking.add_argument("file", type=Path)
    checking.add_argument("--picture", type=Path, help="say what the model sees in it")
    checking.add_argument("--folder", type=Path, help="try the preprocessings in use on it: a sub-folder per class")
    checking.add_argument("--install", metavar="NAME", help="put the file and its card into the models folder")
    for each in (serving, checking):
        each.add_argument("--labels", type=Path, help="text file, a label a line, in the order of the outputs")
        each.add_argument("--size", type=size, help="height and width where the file leaves them free: 224x224")
    return top


def size(text: str) -> tuple[int, ...]:
    """'224x192' -> (224, 192). Raises ValueError, which argparse explains."""
    return tuple(int(extent) for extent in text.lower().split("x"))


def run_check(options: argparse.Namespace) -> int:
    """Print one screen; then what was asked for beyond."""
    checked = Checked.of(options.file, labels_of(options.labels), options.size)
    print("\n".join(checked.lines()))
    card = checked.draft.card
    if options.folder:
        card = best_card(checked, needed(card), options.folder)
    if options.picture:
        print(f"{options.picture.name} shows", *checked.classes(options.picture, needed(card)), sep="\n")
    if options.install:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", options.install):
            raise InvalidRequest(f"{options.install!r} is no name for a model: letters, digits, '.', '_' and '-'")
        print(f"installed: {install(options.file, card, Settings().models, options.install)}")
    elif card:
        print(f"card.json:\n{shortened(card)}")
    return 0


def shortened(card: ModelCard) -> str:
    """The card as JSON that fits a screen: a few labels and no golden inputs."""
    fields = card.model_dump(mode="json", exclude_defaults=True, exclude={"golden"})
    if len(card.labels) > MOST_SHOWN:
        fields["labels"] = [*card.labels[:MOST_SHOWN], f"... {len(card.labels) - MOST_SHOWN} more"]
    return json.dumps(fields, ensure_ascii=False)


def best_card(checked: Checked, card: ModelCard, folder: Path) -> ModelCard:
    """Print the accuracy of every way, and give the card of the best."""
    found = checked.trials(folder, card)
    print(f"accuracy on {folder}", *(f"  {trial.accuracy:7.2%}  {trial.name}" for trial in found), sep="\n")
    return found[0].card


def needed(card: ModelCard | None) -> ModelCard:
    """The card, where something cannot be done without one. Raises InvalidRequest."""
    if card is None:
        raise InvalidRequest("pictures need a card, and none could be drafted: see above what is missing")
    return card


def labels_of(file: Path | None) -> list[str] | None:
    """The lines of a text file."""
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()] if file else None


def run_serve(options: argparse.Namespace) -> int:
    """Serve the models folder, or one file from a folder made for it."""
    settings = _settings()
    if not options.file:
        return serve(settings)
    checked = Checked.of(options.file, labels_of(options.labels), options.size)
    print("\n".join(checked.lines()))
    name = re.sub(r"[^A-Za-z0-9._-]", "-", options.file.stem).lstrip(".-") or "model"
    with TemporaryDirectory(prefix="convscope-") as folder:
        install(options.file, checked.draft.card, Path(folder), name)
        host = f"http://{settings.host}:{settings.port}"
        print(f"{host}/docs  (its layers: {host}/v1/models/{name}/layers)", flush=True)
        return serve(settings.model_copy(update={"models": Path(folder)}))


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; the exit status: 0 unless it could not start, or cut requests off at the end."""
    # The event loop must not wait its usual 5 ms for a thread that encodes feature maps to let go of the interpreter.
    sys.setswitchinterval(0.0005)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every malformed body
    try:
        app = create_app(settings)
    except ProviderUnavailable as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence says it all
        return NOT_STARTED
    # Access is counted in /metrics; a line a request would cost more than answering a small one does.
    config = uvicorn.Config(app, settings.host, settings.port, log_config=None, access_log=False, ws="none")
    lifecycle = app.state.services.lifecycle
    server = Server(config, lifecycle, settings.pre_drain_ms / 1000, settings.drain_timeout_ms / 1000)
    server.run()
    return NOT_STARTED if not server.started else UNCLEAN if server.unclean else 0


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        complaints = [f"{PREFIX}{'.'.join(map(str, item['loc'])).upper()}: {item['msg']}" for item in error.errors()]
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    sys.exit(main())
