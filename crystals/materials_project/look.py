"""The program that asks which database version the Materials Project has now."""

from crystals.config import MaterialsProjectQuery
from crystals.materials_project.client import Patience, Service, key_from_environment
from crystals.sources.materials_project import MaterialsProject
from storage.program import Facts, Spec, main


class LookSpec(Spec):
    """The query that the version is looked up for."""

    query: MaterialsProjectQuery
    patience: Patience = Patience(pauses=(1, 2, 4))  # nothing is lost here: the task tries again itself


def build(spec: LookSpec) -> Facts:
    """Write nothing; tell the version, and the digest of version and query."""
    version = Service(key_from_environment(), spec.patience).version
    return {"version": version, "contents": MaterialsProject(spec.query).contents(version)}


if __name__ == "__main__":
    main(LookSpec, build)
