"""The program that looks up the current database version of the Materials Project."""

from crystals.config import MaterialsProjectQuery
from crystals.materials_project.client import RetryPolicy, Service, key_from_environment
from crystals.sources.materials_project import MaterialsProject
from storage.program import Facts, Spec, main


class VersionSpec(Spec):
    """The query for which the version is looked up."""

    query: MaterialsProjectQuery
    retry: RetryPolicy = RetryPolicy(pauses=(1, 2, 4))  # nothing is lost here: the task tries again itself


def build(spec: VersionSpec) -> Facts:
    """Return the version, and the digest of version and query. Writes no file."""
    version = Service(key_from_environment(), spec.retry).version
    return {"version": version, "contents": MaterialsProject(spec.query).contents(version)}


if __name__ == "__main__":
    main(VersionSpec, build)
