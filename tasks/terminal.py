"""Shows a run in a terminal: one line a step with its time and numbers, and a progress bar for the running step.

Meanwhile everything else that this process or Prefect's temporary server writes to stderr goes to a log file.
Imports no Prefect, because the display is shown before Prefect is imported.
"""

import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.logging import RichHandler
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from storage.studies import STUDIES
from tasks.observer import Observer, observe_with

STEPS = {  # of a training, in the order of the flow: name of the Prefect task → name that is shown
    "download": "download",
    "validate": "validate",
    "graphs": "graphs",
    "train-model": "train",
    "ensemble": "ensemble",
    "evaluate": "evaluate",
    "compare": "compare",
    "report": "report",
    "promote": "promote",
}
OPTIONAL = {"ensemble"}  # not announced: most runs do without


def study_steps(kind: str) -> dict[str, str]:
    """The steps of the flow `kind`, one of storage.studies.STUDIES, as STEPS has those of a training."""
    of_each_model = ("download", "validate", "graphs", "train-model", "ensemble", "evaluate")
    return {**{step: STEPS[step] for step in of_each_model}, kind: "report"}


COLORS = {
    "made": "green",
    "from the store": "cyan",
    "running": "bold",
    "waiting": "dim",
    "failed": "red",
    "stopped": "yellow",
}
NAME_WIDTH, STATE_WIDTH, TIME_WIDTH = 8, 14, 7
INDENT = NAME_WIDTH + 2
STDERR = 2


class Display(Observer):
    """Draws the steps. A finished step's line is printed once; running and waiting steps are redrawn below it.

    A step that runs several times, as a training does in a study, has a line each time.
    """

    draws = True

    def __init__(self, console: Console, opening: str, restore: Callable[[], None], steps: Mapping[str, str]) -> None:
        self.console = console
        self._steps = steps
        self._at_once: Counter[str] = Counter()  # attempts of a step that are under way
        self._opening, self._restore = opening, restore
        self._opened = time.monotonic()
        self._lock = threading.RLock()
        self._begun: dict[str, float] = {}  # step → time.monotonic() of its start
        self._state: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._bars = Progress(
            BarColumn(bar_width=None),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            expand=True,
            auto_refresh=False,
            speed_estimate_period=3600,  # seconds: an epoch may take minutes
        )
        self._bar: dict[str, TaskID] = {}
        self._live = Live(
            console=console,
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=self._running,
        )
        if console.is_dumb_terminal:
            console.print(opening)
        self._live.start()

    def expect(self, steps: Mapping[str, str]) -> None:
        """Draw these steps: name of the Prefect task to the name that is shown."""
        with self._lock:
            self._steps = steps

    def started(self, step: str) -> None:
        """Draw the step as running. Its time counts from its first attempt."""
        with self._lock:
            self._begun.setdefault(step, time.monotonic())
            self._at_once[step] += 1
            self._state[step] = "running"

    def progressed(self, step: str, unit: str, done: int, total: int, note: str = "") -> None:
        """Move the step's bar. On a terminal that cannot redraw (TERM=dumb), print a line at every tenth."""
        if step not in self._steps:
            return
        with self._lock:
            if step not in self._bar:
                self._bar[step] = self._bars.add_task("", total=total)
            before = self._bars.tasks[self._bars.task_ids.index(self._bar[step])].completed
            self._bars.update(self._bar[step], completed=done, total=total)
            self._notes[step] = ", ".join(filter(None, [f"{done:,} of {total:,} {unit}", note]))
            tenth = int(10 * done / total) > int(10 * before / total)
        if self.console.is_dumb_terminal and tenth:
            self.console.print(self._row(step))

    def finished(self, step: str, facts: dict[str, Any], found: bool) -> None:
        """Print the step's line."""
        if step not in self._steps:
            return
        with self._lock:
            last = self._notes.pop(step, "").partition(", ")[2]
            self._remove_bar(step)
            self._state[step] = "from the store" if found else "made"
            self._notes[step] = ", ".join(filter(None, [numbers(step, facts), last]))
            row = self._row(step)
            self._at_once[step] -= 1
            if self._at_once[step]:
                self._state[step] = "running"
                self._notes.pop(step)
            else:
                self._begun.pop(step, None)  # of members that are trained side by side, the first has it
        self.console.print(row)

    def failed(self, step: str) -> None:
        """Draw the step as failed, until it is started again."""
        with self._lock:
            self._at_once[step] -= 1
            self._state[step] = "failed"
            self._remove_bar(step)

    def close(self) -> None:
        """Print the steps that have not finished as failed or stopped, and restore the cursor and stderr."""
        with self._lock:
            if not self._live.is_started:
                return
            self._state |= {step: "stopped" for step, state in self._state.items() if state == "running"}
            unfinished = [self._row(step) for step in self._steps if step in self._begun]
        self._live.stop()
        for row in unfinished:
            self.console.print(row)
        self._restore()

    def _remove_bar(self, step: str) -> None:
        if step in self._bar:
            self._bars.remove_task(self._bar.pop(step))

    def _running(self) -> RenderableType:
        with self._lock:
            if not self._state:
                return Text(f"{self._opening} {duration(time.monotonic() - self._opened)}", style="dim")
            drawn: list[RenderableType] = []
            for step in self._steps:
                if step in self._begun or (step not in self._state and step not in OPTIONAL):
                    drawn.append(self._row(step))
                if step in self._bar:
                    drawn.append(Padding(self._bars.get_renderable(), (0, 0, 0, INDENT)))
            return Group(*drawn)

    def _row(self, step: str) -> Table:
        state = self._state.get(step, "waiting")
        seconds = time.monotonic() - self._begun[step] if step in self._begun else None
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(width=NAME_WIDTH)
        row.add_column(width=STATE_WIDTH)
        row.add_column(width=TIME_WIDTH, justify="right")
        row.add_column(overflow="fold")
        cells = [self._steps[step], state, "" if seconds is None else duration(seconds), self._notes.get(step, "")]
        style = COLORS[state]
        row.add_row(*[Text(cell, style=style if n == 1 or state == "waiting" else "") for n, cell in enumerate(cells)])
        return row


def numbers(step: str, facts: dict[str, Any]) -> str:
    """The numbers in the line of a finished step, from its facts."""
    match step:
        case "download":
            return f"{facts['rows']:,} rows"
        case "validate":
            return f"{facts['accepted']:,} accepted, {facts['rejected']:,} rejected"
        case "graphs":
            reused = f", {facts['reused']:,} of {facts['rows']:,} rows reused" if facts.get("reused") else ""
            return f"{facts['accepted']:,} crystals, {facts['edges']:,} edges{reused}"
        case "train-model":
            label = f", {facts['label']}" if facts.get("label") else ""
            return f"{facts['epochs']:,} epochs{label}"
        case "ensemble":
            return f"{facts['members']:,} members" if facts["members"] > 1 else "uncertainty calibrated"
        case "evaluate":
            test, baseline = (facts[f"{name}_{facts['metric']}"] for name in ("test", "baseline"))
            error = "undefined" if test is None else f"{test:.4g} {facts['unit']}".rstrip()
            beside = "" if baseline is None else f", baseline {baseline:.4g}"
            held = facts.get("interval_coverage")
            intervals = "" if held is None else f", intervals hold {held:.1%}"
            return f"test {facts['metric'].upper()} {error}{beside}{intervals}"
        case "trials":
            return f"{facts['trials']:,} trials"
        case "compare":
            return f"{'to be promoted' if facts['promoted'] else 'not to be promoted'}: {facts['reason']}"
        case _ if step == "report" or step in STUDIES:
            return f"{facts['bytes'] / 1000:,.0f} kB"
    return ""


def duration(seconds: float) -> str:
    """Format seconds as `3.2 s`, `4:05` or `1:00:09`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def display(log: Path, opening: str, steps: Mapping[str, str] = STEPS) -> Iterator[Display]:
    """Draw the `steps` on the terminal, and send what else is written to stderr to the file `log`.

    `opening` is shown until the first step starts. An exception that leaves the block gets a note with the log's path.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # Never closed: Prefect's log handlers keep it, and write to it until the interpreter ends.
    file = log.open("a", buffering=1, encoding="utf-8", errors="replace")
    terminal, stderr = os.dup(STDERR), sys.stderr

    def restore() -> None:
        os.dup2(terminal, STDERR)
        sys.stderr = stderr

    console = Console(file=os.fdopen(terminal, "w", encoding="utf-8", closefd=False), highlight=False)
    shown = Display(console, opening, restore, steps)
    observe_with(shown)
    os.dup2(file.fileno(), STDERR)  # for the temporary server
    sys.stderr = file  # for Prefect's log handlers
    try:
        yield shown
    except BaseException as error:
        error.add_note(f"(log: {log})")
        raise
    finally:
        shown.close()
        observe_with(Observer())


def print_log(shown: Display) -> None:
    """Print the lines of Prefect's log above the steps, too. Call it when Prefect has set up its log."""
    root = logging.getLogger()
    handler = RichHandler(console=shown.console, show_time=False, show_level=False, show_path=False, highlighter=None)
    handler.setFormatter(next((known.formatter for known in root.handlers if known.formatter), None))
    root.addHandler(handler)
