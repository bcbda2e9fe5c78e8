"""Log lines of runs are printable: what a file of the store or a name contains cannot control a terminal."""

import logging
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State

from storage.text import printable

LOGGERS = ("prefect.flow_runs", "prefect.task_runs")  # behind get_run_logger, and Prefect's own lines about a run


def make_logs_printable(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Hook of a flow that begins to run: its log lines in this process are made printable."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_printable)  # once: the same filter is not added again


def _printable(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage()), None
    return True
