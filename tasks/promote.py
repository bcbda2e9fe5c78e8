"""Step 8: the model gets its card, by which `predict` and `show` find it, and is promoted or not."""

import json
from typing import Any, cast

from prefect import get_run_logger

from evaluation.config import PromotionConfig
from storage.artefact import Artefact, to_the_minute
from storage.champions import ChampionChanged, Decision, decide, now
from storage.registry import Card
from tasks.caching import Made, Place, step
from tasks.compare import compare, lineage_of, model_of, opponent
from tasks.programs import Program
from tasks.report import run_name


def carded(arguments: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the run's origin."""
    downloaded, trained = arguments["downloaded"], arguments["trained"]
    source, note = downloaded.parameters["source"], downloaded.facts["note"]
    return {"run": run_name(downloaded, trained), "source": source, "note": note, "model": trained.key}


def settle(card: Artefact, arguments: dict[str, Any], found: bool) -> None:
    """Write the decision down. If another run promoted its model since the comparison, compare with that one first."""
    downloaded, trained, compared, place = (arguments[n] for n in ("downloaded", "trained", "compared", "place"))
    name, logger = lineage_of(downloaded, trained), get_run_logger()
    if found:
        logger.info("nothing has changed since %s UTC: model, report and card are there", to_the_minute(card.created))
    while True:
        decision = Decision(
            at=now(),
            kind="retrain",
            run=run_name(downloaded, trained),
            model=model_of(trained),
            champion=compared.parameters["against"]["model"],
            promoted=compared.facts["promoted"],
            reason=compared.facts["reason"],
            numbers={n: v for n, v in compared.facts.items() if n not in {"promoted", "reason"}},
        )
        try:
            champion = decide(place.artefacts, name, decision).champion
        except ChampionChanged as change:
            logger.info("%s; comparing with that", change)
            config = PromotionConfig.model_validate(compared.parameters["config"])
            against = opponent.fn(downloaded, trained, place)
            compared = cast(Any, compare)(trained, against, config, place, return_state=True).result()
            continue
        logger.info("%s: %s, for %s", name, "promoted" if decision.promoted else "not promoted", decision.reason)
        logger.info("%s: the champion is %s", name, champion.run if champion else "none")
        return


@step(version=2, told=carded, then=settle)
def promote(
    downloaded: Artefact,
    trained: Artefact,
    evaluated: Artefact,
    page: Artefact,
    compared: Artefact,  # noqa: ARG001  settle reads it
    place: Place,
) -> Made:
    """The card of a trained, evaluated, compared, reported model."""
    metrics = json.loads(place.file(evaluated, "metrics.json").read_text(encoding="utf-8"))
    card = Card(
        run=run_name(downloaded, trained),
        name=lineage_of(downloaded, trained),
        source=downloaded.parameters["source"],
        note=downloaded.facts["note"],
        target=metrics["target"],
        unit=metrics["unit"],
        task=metrics["task"],
        metric=metrics["metric"],
        test=metrics["test"][metrics["metric"]],
        baseline=metrics["test"][f"baseline_{metrics['metric']}"],
        materials=metrics["test"]["count"],
        model=model_of(trained),
        predictions=f"{model_of(trained)}/predictions.parquet",
        report=f"{page.step}/{page.key}/report.html",
    )
    return Made(program=Program(module="storage.registry", spec={"card": card}))
