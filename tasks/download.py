"""Step 1: from a source to the structures table."""

from typing import Any

from prefect import get_run_logger

from crystals.config import MaterialsProjectQuery
from crystals.sources.materials_project import NAME as MATERIALS_PROJECT
from tasks.caching import BuildPlan, RunContext, step
from tasks.programs import Program
from tasks.secrets import materials_project_key

TABLE = "structures.parquet"
VERSION = 1


@step(version=VERSION)
def download(
    source: str, contents: str, query: MaterialsProjectQuery | None, version: str | None, context: RunContext
) -> BuildPlan:
    """Every row of the source as one table.

    `contents` is the digest of what the source holds now. Of a service, `query` says what is asked, and `version` what
    it answers from.
    """
    if query is None:
        return BuildPlan(program=Program(module="crystals.download", spec={"source": source, "contents": contents}))
    spec = {"query": query, "version": version, **earlier(query, context)}
    program = Program(module="crystals.materials_project.download", spec=spec, secrets=materials_project_key())
    return BuildPlan(program=program)


def earlier(query: MaterialsProjectQuery, context: RunContext) -> dict[str, Any]:
    """The table and the query of the last download from the Materials Project, of the same query if there is one.

    It saves fetching what has not changed since; it decides no byte of the result.
    """
    made = (a for a in context.artefacts.list("download") if a.version == VERSION)
    found = [a for a in made if a.parameters["source"] == MATERIALS_PROJECT]
    asked = query.model_dump(mode="json")
    warn = get_run_logger().warning
    found.sort(key=lambda artefact: artefact.parameters["query"] != asked)  # stable: the newest of the same come first
    last = next((a for a in found if context.artefacts.find(a.step, a.key, warn) is not None), None)
    return {"before": context.file(last, TABLE), "before_query": last.parameters["query"]} if last else {}
