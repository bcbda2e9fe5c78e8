"""Ctrl-C ends `cgcnn retrain` at once: its programs, Prefect's temporary server, and the run on the server.

Prefect's own shutdown takes ten seconds: it waits for its threads, and retries requests to the temporary server, which
the same Ctrl-C has ended. Here a thread of its own waits for the signal, so it does not matter what the main thread is
doing: importing, waiting for a lock, or following a training.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
from typing import Any
from uuid import UUID

from tasks.observer import observer
from tasks.programs import end_all

INTERRUPTED = 128 + signal.SIGINT
STOPPED = "stopped; what was finished is kept, the same command goes on from there"
STDERR = 2
PATIENCE = 1.0  # seconds for the server to be telling, and for a temporary one to end

_runs: list[UUID] = []


def leave_on_ctrl_c() -> None:
    """Make Ctrl-C end this process within about two seconds, with one line on stderr and exit code 130."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return  # a background job of a shell: Ctrl-C is not meant for it
    # Threads and child processes inherit the blocked signal, so only the thread that waits for it receives it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threading.Thread(target=_leave_on_signal, name="ctrl-c", daemon=True).start()


def remember_run(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001  Prefect names the arguments
    """`on_running` hook: remember the flow run, to set it to Cancelled on the server."""
    _runs.append(flow_run.id)


def _leave_on_signal() -> None:
    signal.sigwait({signal.SIGINT})
    try:
        logging.disable()
        if _runs:
            cancelling = threading.Thread(target=_cancel_on_server, daemon=True)
            cancelling.start()
            cancelling.join(PATIENCE)
        observer().close()
        over_the_echo = "\r" if os.isatty(STDERR) else ""  # of ^C
        os.write(STDERR, f"{over_the_echo}cgcnn: {STOPPED}\n".encode())
        _end_temporary_server()
        end_all()
    finally:
        # A normal exit would wait for Prefect's threads, and for the server that has just ended.
        os._exit(INTERRUPTED)


def _cancel_on_server() -> None:
    """Set the run and its unfinished task runs to Cancelled; the server would show them as running for ever."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.objects import State, StateType
    from prefect.states import Cancelled

    cancelled: State[Any] = Cancelled(message="Stopped by Ctrl-C.")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(_runs[-1], cancelled, force=True)
        of_it = FlowRunFilter(id=FlowRunFilterId(any_=[_runs[-1]]))
        for task_run in client.read_task_runs(flow_run_filter=of_it):
            if task_run.state_type in {StateType.PENDING, StateType.RUNNING}:
                client.set_task_run_state(task_run.id, cancelled, force=True)


def _end_temporary_server() -> None:
    server = _temporary_server()
    if server is None:
        return
    server.terminate()
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _temporary_server() -> "subprocess.Popen[bytes] | None":
    """The process of Prefect's temporary server, if this one has started it."""
    module = sys.modules.get("prefect.server.api.server")
    one_for_each_process = getattr(
        module, "SubprocessASGIServer", None
    )  # None while the main thread imports the module
    return one_for_each_process().server_process if one_for_each_process else None
