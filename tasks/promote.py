"""Step 8: the model gets its card, by which `predict` and `show` find it, and is promoted or not."""

import json
from typing import Any, cast

from prefect import get_run_logger

from evaluation.config import PromotionConfig
from storage.artefact import Artefact, format_minute
from storage.champions import ChampionChanged, Decision, decide_or_compare, now
from storage.registry import Card, Coverage
from tasks.caching import BuildPlan, RunContext, step
from tasks.compare import compare, lineage_name, model_of, reference_model
from tasks.programs import Program
from tasks.report import run_name


def card_key(arguments: dict[str, Any]) -> dict[str, Any]:
    """Of the run's resolved, what its card contains."""
    downloaded, trained = arguments["downloaded"], arguments["trained"]
    source, note = downloaded.parameters["source"], downloaded.facts["note"]
    # Cards of classifications had a name without the threshold: they are made again. Those of regressions stay.
    classes = trained.parameters["train"]["task"] != "regression"
    named = {"name": lineage_name(downloaded, trained)} if classes else {}
    return {"run": run_name(downloaded, trained), "source": source, "note": note, "model": trained.key, **named}


def record_decision(card: Artefact, arguments: dict[str, Any], found: bool) -> None:
    """Write the decision down. If another run promoted its model since the comparison, compare with that one first."""
    downloaded, trained, compared, context = (arguments[n] for n in ("downloaded", "trained", "compared", "context"))
    name, logger = lineage_name(downloaded, trained), get_run_logger()
    if found:
        logger.info("nothing has changed since %s UTC: model, report and card are there", format_minute(card.created))

    def compare_again(change: ChampionChanged) -> Decision:
        logger.info("%s; comparing with that", change)
        config = PromotionConfig.model_validate(compared.parameters["config"])
        against = reference_model.fn(downloaded, trained, context)
        again: Artefact = cast(Any, compare)(trained, against, config, context, return_state=True).result()
        return _decision(downloaded, trained, again)

    first = _decision(downloaded, trained, compared)
    decision, known = decide_or_compare(context.artefacts, name, first, compare_again)
    if decision in known.decisions:
        logger.info("%s: %s, for %s", name, "promoted" if decision.promoted else "not promoted", decision.reason)
    else:
        logger.info("%s: nothing new to decide about %s", name, decision.run)
    logger.info("%s: the champion is %s", name, known.champion.run if known.champion else "none")


def _decision(downloaded: Artefact, trained: Artefact, compared: Artefact) -> Decision:
    return Decision(
        at=now(),
        kind="retrain",
        run=run_name(downloaded, trained),
        model=model_of(trained),
        champion=compared.parameters["against"]["model"],
        promoted=compared.facts["promoted"],
        reason=compared.facts["reason"],
        numbers={n: v for n, v in compared.facts.items() if n not in {"promoted", "reason"}},
    )


@step(version=2, extra_key=card_key, on_complete=record_decision)
def promote(
    downloaded: Artefact,
    trained: Artefact,
    evaluated: Artefact,
    page: Artefact,
    compared: Artefact,  # noqa: ARG001  record_decision reads it
    context: RunContext,
) -> BuildPlan:
    """The card of a trained, evaluated, compared, reported model."""
    metrics = json.loads(context.file(evaluated, "metrics.json").read_text(encoding="utf-8"))
    card = Card(
        run=run_name(downloaded, trained),
        name=lineage_name(downloaded, trained),
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
        members=trained.facts.get("members", 1),
        start_from=trained.facts.get("start_from", ""),
        coverage=_coverage(metrics),
    )
    return BuildPlan(program=Program(module="storage.registry", spec={"card": card}))


def _coverage(metrics: dict[str, Any]) -> Coverage | None:
    held = metrics.get("uncertainty", {}).get("interval")
    return Coverage(promised=held["promised"], observed=held["observed"]) if held else None
