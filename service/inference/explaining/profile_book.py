"""ProfileBook: the last profile of every version, and one more at a time."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from service.errors import UnderWay
from service.inference.explaining.profile import Profile, profile
from service.inference.serving.model import ServedModel


class ProfileBook:
    """Measures on one thread of its own, so that no two measurements disturb each other. For one event loop."""

    def __init__(self) -> None:
        self._pages: dict[tuple[str, str, str], Profile] = {}
        self._under_way: set[str] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="profile")

    def last(self, served: ServedModel) -> Profile | None:
        """The last one of this very file."""
        return self._pages.get((served.name, served.version, served.sha256))

    async def measure(self, served: ServedModel, max_batch: int) -> Profile:
        """Measure and remember. Raises UnderWay while the same model is being measured, and what `profile` raises.

        Whoever leaves does not stop it: it is soon done, and `last` has it then.
        """
        if served.name in self._under_way:
            raise UnderWay(f"model {served.name!r} is being measured already")
        self._under_way.add(served.name)
        running = asyncio.get_running_loop().run_in_executor(self._thread, profile, served, max_batch)
        running.add_done_callback(lambda done: self._done(served, done))
        await asyncio.wait([running])
        return running.result()

    def close(self) -> None:
        """Join the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _done(self, served: ServedModel, done: "asyncio.Future[Profile]") -> None:
        self._under_way.discard(served.name)
        if not done.cancelled() and done.exception() is None:
            self._pages[served.name, served.version, served.sha256] = done.result()
