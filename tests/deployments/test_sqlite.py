"""The server on SQLite: transactions wait for each other, where Prefect's own fail with "database is locked"."""

import subprocess
import sys
from pathlib import Path

SERVER = Path(__file__).parents[2] / "deployments" / "server.py"

# Two of Prefect's transactions at a time: the first one reads, the second one writes, the first one writes.
RACE = """
import asyncio, runpy, sys
import sqlalchemy as sa
from prefect.server.database.configurations import AioSqliteConfiguration

async def race(path):
    database = AioSqliteConfiguration(f"sqlite+aiosqlite:///{path}")
    engine = await database.engine()
    async with engine.begin() as connection:
        await connection.execute(sa.text("create table buckets (count integer)"))

    async def count(before, after):
        await asyncio.sleep(before)
        session = await database.session(engine)
        async with session, database.begin_transaction(session):
            (await session.execute(sa.text("select count(*) from buckets"))).all()
            await asyncio.sleep(after)
            await session.execute(sa.text("insert into buckets values (1)"))

    ended = await asyncio.gather(count(0, 0.5), count(0.2, 0), return_exceptions=True)
    print([str(error.orig) if error else "committed" for error in ended])
    await engine.dispose()

folder, server = sys.argv[1:]
asyncio.run(race(f"{folder}/before.db"))
runpy.run_path(server)
asyncio.run(race(f"{folder}/after.db"))
"""


def test_transactions_wait_for_each_other(tmp_path):
    """The first line is Prefect's own way. When it says "committed" twice, deployments/server.py is not needed."""
    command = [sys.executable, "-c", RACE, str(tmp_path), str(SERVER)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == ["['database is locked', 'committed']", "['committed', 'committed']"]
