"""Copies a program's checkpoints to the store's URL while it runs: a worker on another machine goes on from there.

The program writes its checkpoints to its scratch folder and knows nothing of the store. A store that is a folder has
that scratch folder in it, so there nothing is copied. Imports no Prefect.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from storage.artefact import Recipe
from storage.checkpoints import CHECKPOINTS, Checkpoint, RemoteCheckpoints, checkpoints_in
from storage.errors import InputError, WorldError
from storage.store import Store

STOPPING = 10.0  # seconds for the last copy when the run is stopped: less than the 30 before a worker kills its process

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


@contextmanager
def shared_checkpoints(
    store: Store, recipe: Recipe, work: Path, minutes: float | None, log: Log
) -> Iterator[Callable[[], None]]:
    """While the body runs a program in the folder `work`, copy its newest checkpoint to the store's URL now and then.

    If the URL has a newer whole checkpoint than `work`, the program finds it in `work`; WorldError if the URL does not
    answer that. From then on a copy that fails is a warning, and tried again after `minutes`. If the body is stopped or
    fails, the newest checkpoint is copied, for which there are STOPPING seconds. If the body ends, it has committed the
    artefact, and the checkpoints at the URL are deleted. `minutes` None: the program writes none.

    Yields a function that logs what became of the copies since it was called last, for the body to call now and then.
    """
    if store.remote is None or minutes is None:
        yield lambda: None
        return
    folder, remote = work / "scratch" / CHECKPOINTS, RemoteCheckpoints(store.remote, recipe.step, recipe.key)
    fetched = remote.fetch_newer(folder, log.warning)
    if fetched is not None:
        log.info("goes on after epoch %d, with the checkpoint from %s", fetched.epoch, store.url)
    copies = _Copies(remote, folder, fetched, minutes, log)
    try:
        yield copies.log
    except InputError:
        copies.stop(last=False)  # it would end in the same way again
        raise
    except BaseException:
        copies.stop(last=True)
        raise
    copies.stop(last=False)
    try:
        remote.clear()
    except (InputError, WorldError) as error:
        log.warning("the checkpoints are left at the URL: %s", error)


class _Copies:
    """A thread that copies the newest checkpoint of a folder to the URL. What goes wrong in it is a warning.

    It writes no log line itself: the first one that is written after a worker died ends the thread that writes it, and
    that has to be the one of the run.
    """

    def __init__(
        self, remote: RemoteCheckpoints, folder: Path, copied: Checkpoint | None, minutes: float, log: Log
    ) -> None:
        self._remote, self._folder, self._copied = remote, folder, copied
        self._minutes, self._log = minutes, log
        self._lines: SimpleQueue[tuple[int, str]] = SimpleQueue()
        self._stopping, self._last = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def stop(self, *, last: bool) -> None:
        """End the thread, after a last copy if `last`; do not wait longer than STOPPING seconds for it."""
        self._last = last
        self._stopping.set()
        self._thread.join(STOPPING)
        self.log()
        if last and self._thread.is_alive():
            self._log.warning("the last checkpoint did not reach the store within %g s", STOPPING)

    def log(self) -> None:
        """Log what became of the copies since the last call."""
        while not self._lines.empty():
            level, line = self._lines.get()
            self._log.log(level, "%s", line)

    def _run(self) -> None:
        while not self._stopping.wait(60 * self._minutes):
            self._copy()
        if self._last:
            self._copy()

    def _copy(self) -> None:
        newest = next(iter(checkpoints_in(self._folder)), None)
        if newest is None or newest == self._copied:
            return
        try:
            self._remote.send(self._folder / newest.name)
        except (InputError, WorldError, OSError) as error:
            self._lines.put((logging.WARNING, f"the checkpoint of epoch {newest.epoch} is not in the store: {error}"))
        else:
            self._copied = newest
            self._lines.put((logging.INFO, f"the checkpoint of epoch {newest.epoch} is in the store"))
