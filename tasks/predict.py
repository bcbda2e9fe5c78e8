"""Predictions for many structures, and what the UI shows of them."""

from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.tasks import exponential_backoff

from tasks.caching import is_retryable
from tasks.prediction import PredictRequest, predict


@task(
    name="predict",
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_condition_fn=is_retryable,
    persist_result=False,
)
def predict_files(
    files: list[str], model: str, store: str, output: str, trust_code: bool = False
) -> dict[str, int | str]:
    """Write the table; how many were predicted, refused and warned of, and of what."""
    logger = get_run_logger()
    request = PredictRequest(files=files, model=model, store=store, output=Path(output), trust_code=trust_code)
    summary = predict(request, lambda line: logger.info("%s", line))
    counts = ", ".join(f"{summary[name]:,} {name}" for name in ("predicted", "refused", "warned"))
    line = f"{counts}: `{output}`"
    create_markdown_artifact(line, key="predictions", description=str(summary["quantity"]))
    return summary
