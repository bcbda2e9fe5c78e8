"""Prefect's server, as `prefect server start` starts it, with SQLite transactions that wait for each other.

    python deployments/server.py server start [--host 127.0.0.1] [--port 4200]

Prefect's transactions on SQLite begin DEFERRED. One that reads, and then writes after another one has written, fails
at once with "database is locked": SQLite's busy timeout does not apply to it (https://www.sqlite.org/isolation.html).
Here they begin IMMEDIATE, so that each waits for the one before it, up to the 60 seconds that Prefect sets.
On PostgreSQL nothing changes.
"""

from typing import Any

from prefect.cli import app
from sqlalchemy import event
from sqlalchemy.engine import Engine

DEFERRED, IMMEDIATE = "BEGIN DEFERRED", "BEGIN IMMEDIATE"


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def begin_immediate(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    """Replace the statement with which Prefect begins a transaction on SQLite; every other one stays as it is."""
    return IMMEDIATE if statement == DEFERRED else statement, parameters


if __name__ == "__main__":
    app()
