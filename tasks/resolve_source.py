"""Before the first step: which source and target are meant, and what the source holds now."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from prefect import get_run_logger, task
from prefect.tasks import exponential_backoff

from crystals.config import MaterialsProjectQuery
from crystals.sources.registry import ResolvedSource, check_source
from tasks.caching import is_retryable
from tasks.programs import Program, run_program
from tasks.progress import line_handler
from tasks.secrets import materials_project_key


def resolve_source(
    source: str, target: str | None, query: MaterialsProjectQuery, auxiliary: Sequence[str] = ()
) -> ResolvedSource:
    """Source, target, and a digest of what the source holds now; a database is asked for it in its own task run."""
    resolved = check_source(source, target, query, auxiliary)
    if resolved.query is None:
        return resolved
    found = database_version(resolved.query)
    return resolved._replace(contents=found["contents"], version=found["version"])


@task(
    name="database-version",
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=10),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_retryable,
    persist_result=False,
)
def database_version(query: MaterialsProjectQuery) -> dict[str, str]:
    """The `version` of the Materials Project's database now, and `contents`: a digest of it and of the query."""
    program = Program(
        module="crystals.materials_project.database_version", spec={"query": query}, secrets=materials_project_key()
    )
    with tempfile.TemporaryDirectory() as folder:
        found = run_program(program, Path(folder), line_handler("database-version"))
    get_run_logger().info("Materials Project: database version %s", found["version"])
    return dict(found)
