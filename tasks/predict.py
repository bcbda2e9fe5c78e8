"""Predictions for many structures, and what the UI shows of them."""

from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.tasks import exponential_backoff

from tasks.caching import is_retryable
from tasks.prediction import predict


@task(
    name="predict",
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_condition_fn=is_retryable,
    persist_result=False,
)
def predict_files(files: list[str], model: str, store: str, output: str) -> dict[str, int | str]:
    """Write the table; how many were predicted and refused, and of what."""
    logger = get_run_logger()
    summary = predict(files, model, store, Path(output), lambda line: logger.info("%s", line))
    line = f"{summary['predicted']:,} predicted, {summary['refused']:,} refused: `{output}`"
    create_markdown_artifact(line, key="predictions", description=str(summary["quantity"]))
    return summary
