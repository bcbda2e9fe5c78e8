"""What a run logs cannot control the terminal that shows it."""

import pytest
from prefect import flow, get_run_logger
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows.predict import predict
from flows.retrain import retrain
from flows.train import train
from storage.errors import WorldError
from tasks.printable_logs import make_logs_printable


def test_escape_sequences_are_shown_in_the_log(server, caplog):
    @flow(on_running=[make_logs_printable])
    def run() -> None:
        get_run_logger().info("the champion is %s", "\x1b[31mred")
        raise WorldError("no column \x07")

    with temporary_settings({PREFECT_API_URL: server, PREFECT_LOGGING_TO_API_ENABLED: False}):
        with pytest.raises(WorldError):
            run()
        with pytest.raises(WorldError):
            run()
    lines = [record.getMessage() for record in caplog.records if record.name == "prefect.flow_runs"]
    assert lines.count(r"the champion is \x1b[31mred") == 2
    assert any(r"WorldError: no column \x07" in line for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "\x07" not in "".join(lines)


@pytest.mark.parametrize("each", [predict, retrain, train], ids=lambda each: each.name)
def test_each_flow_of_ours_does_so(each):
    assert make_logs_printable in each.on_running_hooks
