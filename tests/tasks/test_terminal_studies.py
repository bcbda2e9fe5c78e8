"""What a terminal shows of a study: its own steps alone, and a line for each model, also of those side by side."""

import io

import pytest
from rich.console import Console

from storage.studies import STUDIES
from tasks.terminal import STEPS, Display, study_steps


@pytest.fixture
def shown():
    """shown(steps): a display on a terminal that cannot redraw, and a function that returns what it printed."""
    displays = []

    def make(steps):
        output = io.StringIO()
        console = Console(file=output, force_terminal=True, width=100, _environ={"TERM": "dumb"})
        displays.append(Display(console, "starting", lambda: None, steps))
        return displays[-1], lambda: output.getvalue().splitlines()[1:]

    yield make
    for display in displays:
        display.close()


@pytest.mark.parametrize("kind", STUDIES)
def test_a_study_has_no_champion_to_wait_for(kind):
    assert [step for step in STEPS if step not in study_steps(kind)] == ["compare", "report", "promote"]
    assert study_steps(kind)[kind] == "report"


def test_two_trainings_side_by_side_have_a_line_each(shown):
    display, lines = shown(study_steps("ablate"))
    display.started("train-model")
    display.started("train-model")
    display.progressed("train-model", "epochs", 1, 30)
    display.finished("train-model", {"epochs": 3}, found=False)
    display.progressed("train-model", "epochs", 2, 30)
    display.finished("train-model", {"epochs": 4}, found=True)
    display.started("ablate")
    display.finished("ablate", {"bytes": 20_000}, found=False)
    display.close()
    first, second, report = lines()
    assert first.split() == ["train", "made", *first.split()[2:4], "3", "epochs"]
    assert second.split()[-2:] == ["4", "epochs"]
    assert "from the store" in second
    assert report.startswith("report")
    assert report.rstrip().endswith("20 kB")
