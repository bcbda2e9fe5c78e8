"""A progress bar on the standard error, while programs run that Prefect does not follow."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

Log = Callable[[str], None]
OnProgress = Callable[[str, int, int], None]


@contextmanager
def progress_bar(log: Log) -> Iterator[tuple[Log, OnProgress | None]]:
    """A callback for lines, and one for (what, done, total) that draws a bar; without a terminal `log` and None.

    Lines appear above the bar, which is gone in the end. `total` 0: it is not known, and the bar only moves.
    """
    if not sys.stderr.isatty():
        yield log, None
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # The standard output is the table's: it must not be redirected to where the bar is.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=None)
            bar.update(tasks[what], completed=done, total=max(total, done) if total else None)

        def print_above(line: str) -> None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield print_above, show
