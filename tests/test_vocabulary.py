"""The code speaks the field's language: words that it had of its own, and their replacements, do not come back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("cgcnn", "flows", "tasks", "crystals", "gnn", "evaluation", "storage", "deployments", "benchmarks")
REPLACED = {
    "Near": "TruncatedGaussians",
    "told": "record, summary, description, …",
    "Told": "EpochMetrics",
    "tell": "callback, log, warn",
    "teller": "epoch_logger",
    "RunningMean": "AveragedModel (EMA)",
    "movers": "optimizer, schedule, ema",
    "anywhere": "without_placement",
    "Foreign": "ExternalModel",
    "OWN_MODELS": "MODELS",
    "BUILT_IN_MODELS": "MODELS",
    "Place": "RunContext",
    "Made": "BuildPlan",
    "elsewhere": "dispatch",
    "made_or_found": "get_or_build",
    "then": "on_complete",
    "reigns": "promotions",
    "opponent": "reference_model",
    "follower": "line_handler",
    "Patience": "RetryPolicy",
}
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def identifiers(tree: ast.AST) -> set[str]:
    """Every name that the code gives to something."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.alias):
            found.add(node.name)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.arg | ast.keyword):
            found.add(str(node.arg))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_replaced_words_do_not_come_back(path):
    used = identifiers(ast.parse(path.read_text(encoding="utf-8"))) & set(REPLACED)
    assert not used, {word: REPLACED[word] for word in used}
