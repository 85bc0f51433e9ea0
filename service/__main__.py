"""`python -m service [serve]`: run the service with the settings of the environment."""

import argparse
import logging
import sys

import uvicorn
from pydantic import ValidationError

from service.app import create_app
from service.errors import ProviderUnavailable
from service.server import Server
from service.settings import PREFIX, Settings

NOT_STARTED = 3  # as uvicorn has it

log = logging.getLogger(__name__)


def main() -> None:
    """Parse the command line and serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["serve"], default="serve")
    parser.parse_args()
    sys.exit(serve(_settings()))


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; the exit status, 0 unless it could not start."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every malformed body
    try:
        app = create_app(settings)
    except ProviderUnavailable as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence says it all
        return NOT_STARTED
    # Access is counted in /metrics; a line a request would cost more than answering a small one does.
    config = uvicorn.Config(app, settings.host, settings.port, log_config=None, access_log=False)
    lifecycle = app.state.services.lifecycle
    server = Server(config, lifecycle, settings.pre_drain_ms / 1000, settings.drain_timeout_ms / 1000)
    server.run()
    return 0 if server.started else NOT_STARTED


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        complaints = [f"{PREFIX}{'.'.join(map(str, item['loc'])).upper()}: {item['msg']}" for item in error.errors()]
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    main()
