"""The numbers of the report as GitHub-flavoured Markdown, for the Prefect UI."""

import re
from collections.abc import Sequence
from typing import Any

from evaluation.formatting import Scale, decimals, duration, fixed, processes, share, significant, throughput


def summary(view: dict[str, Any]) -> str:
    """The report as Markdown. `view` is what page.gather returns; text from tables is escaped."""
    about = view["about"]
    parts = [f"# {_text(about.title)}: {_text(view['name'])}", view["verdict"]]
    if about.note:
        parts.append(f"> {_text(about.note)}")
    parts += ["## Errors", _errors(view)]
    if view["published"]:
        parts += ["## Beside published figures", _published(view)]
    if view["comparison"]:
        parts += ["## Beside the champion", *_comparison(view["comparison"])]
    if view["uncertainty"]:
        parts += ["## Uncertainty", _uncertainty(view["uncertainty"])]
    for heading, rows in (("number of elements", view["elements"]), ("crystal system", view["systems"])):
        if rows:
            body = [[row["key"], str(row["count"]), row["text"]] for row in rows]
            parts += [f"## Test error by {heading}", _table([heading, "structures", _measure(view)], body)]
    if view["worst"]:
        parts += [f"## The {len(view['worst'])} worst predictions", _worst(view)]
    parts += ["## Data and run", _run(view)]
    return "\n\n".join(parts) + "\n"


def _measure(view: dict[str, Any]) -> str:
    return "wrong class" if view["yes_or_no"] else f"MAE ({view['scale'].unit})".replace(" ()", "")


def _errors(view: dict[str, Any]) -> str:
    if view["yes_or_no"]:
        rows = [
            [name, f"{m['count']:,}", significant(m["roc_auc"]), share(m["accuracy"]), share(m["baseline_accuracy"])]
            for name, m in view["splits"]
        ]
        return _table(["split", "structures", "ROC-AUC", "accuracy", "accuracy of the more frequent class"], rows)
    scale: Scale = view["scale"]
    unit = f" ({scale.unit})" if scale.unit else ""
    rows = [
        [
            name,
            f"{m['count']:,}",
            *(scale.show(m[n]) for n in ("mae", "rmse")),
            significant(m["r2"]),
            scale.show(m["baseline_mae"]),
        ]
        for name, m in view["splits"]
    ]
    return _table(["split", "structures", f"MAE{unit}", f"RMSE{unit}", "R²", f"MAE of the mean{unit}"], rows)


def _published(view: dict[str, Any]) -> str:
    rows = [
        [_strong(row["method"], row["ours"]), row["text"], _text(row["source"]), _text(row["protocol"])]
        for row in view["published"]
    ]
    return _table(["method", _measure(view), "source", "how it was measured"], rows, numbers=slice(1, 2))


def _comparison(found: dict[str, Any]) -> list[str]:
    verdict = f"{'Promoted' if found['promoted'] else 'Not promoted'}: {_text(found['reason'])}."
    rows = [[_text(label), _text(value)] for label, value in (*found["errors"], *found["drift"])]
    return [verdict, *([_table(["", ""], rows)] if rows else [])]


def _uncertainty(found: dict[str, Any]) -> str:
    levels = _table(["expected", "observed"], [[row["expected"], row["observed"]] for row in found["levels"]])
    return f"{levels}\n\n{_table(['', ''], [[_text(label), _text(value)] for label, value in found['rows']])}"


def _strong(text: str, strong: bool) -> str:
    return f"**{_text(text)}**" if strong else _text(text)


def _worst(view: dict[str, Any]) -> str:
    unit = f" ({view['about'].unit})" if view["about"].unit else ""
    places = decimals(row["error"] for row in view["worst"])
    rows = [
        [_text(row["material_id"]), _text(row["formula"])]
        + [fixed(row[name], places) for name in ("target", "predicted", "error")]
        for row in view["worst"]
    ]
    return _table(
        ["id", "formula", f"reference{unit}", f"predicted{unit}", f"error{unit}"], rows, numbers=slice(2, None)
    )


def _run(view: dict[str, Any]) -> str:
    about = view["about"]
    rules = ", ".join(f"{_text(rule)} {count:,}" for rule, count in sorted(about.by_rule.items()))
    rows = [
        ["run", _text(about.run)],
        ["source", _text(about.source)],
        ["rows", f"{about.rows:,}: {about.accepted:,} accepted, {about.rejected:,} rejected"],
        ["rejected by rule", rules or "none"],
        ["pairs of ids with conflicting labels", f"{about.conflicts:,}"],
        ["split", ", ".join(f"{name} {count:,}" for name, count in about.split.items())],
        ["split by", _text(about.split_by)],
        ["graphs", f"{about.atoms:,} atoms, {about.orbits:,} of them stored, {about.graph_edges:,} edges"],
        ["parameters", f"{about.parameters:,}"],
        ["epochs", view["epochs"]],
        ["training", f"{duration(about.seconds)} on {_text(about.device)}, {processes(about.processes)}"],
        ["throughput", throughput(about.structures_per_second, about.edges_per_second)],
        ["waiting for data", f"{about.data_wait:.1%} of the time, {about.data} graphs"],
        ["peak memory", f"{about.peak_memory_mib:,} MiB a process"],
    ]
    rows += [
        [_text(f"{group}.{name}" if group else name), _text(value)]
        for group, values in view["settings"]
        for name, value in values
    ]
    return _table(["", ""], rows, numbers=slice(2, None))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: slice = slice(1, None)) -> str:
    aligned_right = range(len(head))[numbers]
    rule = ["---:" if n in aligned_right else "---" for n in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def _text(text: str) -> str:
    """`text` on one line, escaped so that Markdown shows it as it is: no HTML, no links, no new table cells."""
    line = " ".join(str(text).split())[:300]
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#|~!])", r"\\\1", line)
