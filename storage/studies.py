"""Studies: several trainings and one page. Each step of STUDIES stores a card, by which `cgcnn show` finds it."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.names import FilePath, Line
from storage.store import Store

STUDY = "study.json"
STUDIES = ("sweep", "crossvalidate", "ablate", "curve")  # the flows' names, and those of the steps that write the page


class StudyCard(BaseModel):
    """What a study found, in one line; errors in it are in `unit`."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    kind: Line
    run: Line
    source: Line
    target: Line
    unit: Line
    note: Line
    headline: Line
    models: int


class Study(BaseModel):
    """A card, the ISO 8601 time at which the study finished, and its report, relative to the store's root."""

    model_config = ConfigDict(frozen=True)

    finished: Line
    card: StudyCard
    report: FilePath

    def to_dict(self, store: Store) -> dict[str, object]:
        """The card as `cgcnn show --json` prints it, with the report's absolute path or URL."""
        return {"finished": self.finished, **self.card.model_dump(), "report": store.location(self.report)}


def studies(store: Store, warn: Callable[[str], object] = lambda _: None) -> list[Study]:
    """Every study in the store, newest first. `warn` gets a line for each that is damaged, and therefore left out."""
    found = []
    for step in STUDIES:
        for artefact in store.list(step, warn):
            folder = f"{artefact.step}/{artefact.key}"
            try:
                card = StudyCard.model_validate_json(store.content(artefact, STUDY) or b"")
            except ValidationError:
                warn(
                    f"{store.location(f'{folder}/{STUDY}')}: is damaged, and left out; the same command makes it again"
                )
                continue
            found.append(Study(finished=artefact.created, card=card, report=f"{folder}/report.html"))
    return sorted(found, key=lambda study: study.finished, reverse=True)
