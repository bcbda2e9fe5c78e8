"""The numbers of the report as GitHub-flavoured Markdown, for the Prefect UI."""

from typing import Any

from evaluation.formatting import Scale, decimals, duration, fixed, processes, share, significant, throughput
from evaluation.markdown import escaped, table


def summary(view: dict[str, Any]) -> str:
    """The report as Markdown. `view` is what page.gather returns; text from tables is escaped."""
    about = view["about"]
    parts = [f"# {escaped(about.title)}: {escaped(view['name'])}", view["verdict"]]
    if about.note:
        parts.append(f"> {escaped(about.note)}")
    parts += ["## Errors", _errors(view)]
    if view["published"]:
        parts += ["## Beside published figures", _published(view)]
    if view["comparison"]:
        parts += ["## Beside the champion", *_comparison(view["comparison"])]
    if view["uncertainty"]:
        parts += ["## Uncertainty", _uncertainty(view["uncertainty"])]
    for heading, rows in (
        ("number of elements", view["elements"]),
        ("crystal system", view["systems"]),
        ("space group", view["space_groups"]),
        ("distance from the training structures", view["distances"]),
        ("reference value", view["zeros"]),
    ):
        if rows:
            body = [[row["key"], str(row["count"]), row["text"]] for row in rows]
            parts += [f"## Test error by {heading}", table([heading, "structures", _measure(view)], body)]
    if view["zero_note"]:
        parts.append(view["zero_note"])
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
        return table(["split", "structures", "ROC-AUC", "accuracy", "accuracy of the more frequent class"], rows)
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
    return table(["split", "structures", f"MAE{unit}", f"RMSE{unit}", "R²", f"MAE of the mean{unit}"], rows)


def _published(view: dict[str, Any]) -> str:
    rows = [
        [_strong(row["method"], row["ours"]), row["text"], escaped(row["source"]), escaped(row["protocol"])]
        for row in view["published"]
    ]
    return table(["method", _measure(view), "source", "how it was measured"], rows, numbers=slice(1, 2))


def _comparison(found: dict[str, Any]) -> list[str]:
    verdict = f"{'Promoted' if found['promoted'] else 'Not promoted'}: {escaped(found['reason'])}."
    rows = [[escaped(label), escaped(value)] for label, value in (*found["errors"], *found["drift"])]
    return [verdict, *([table(["", ""], rows)] if rows else [])]


def _uncertainty(found: dict[str, Any]) -> str:
    levels = table(["expected", "observed"], [[row["expected"], row["observed"]] for row in found["levels"]])
    return f"{levels}\n\n{table(['', ''], [[escaped(label), escaped(value)] for label, value in found['rows']])}"


def _strong(text: str, strong: bool) -> str:
    return f"**{escaped(text)}**" if strong else escaped(text)


def _worst(view: dict[str, Any]) -> str:
    unit = f" ({view['about'].unit})" if view["about"].unit else ""
    places = decimals(row["error"] for row in view["worst"])
    rows = [
        [escaped(row["material_id"]), escaped(row["formula"])]
        + [fixed(row[name], places) for name in ("target", "predicted", "error")]
        for row in view["worst"]
    ]
    return table(
        ["id", "formula", f"reference{unit}", f"predicted{unit}", f"error{unit}"], rows, numbers=slice(2, None)
    )


def _run(view: dict[str, Any]) -> str:
    about = view["about"]
    rules = ", ".join(f"{escaped(rule)} {count:,}" for rule, count in sorted(about.by_rule.items()))
    rows = [
        ["run", escaped(about.run)],
        ["source", escaped(about.source)],
        ["rows", f"{about.rows:,}: {about.accepted:,} accepted, {about.rejected:,} rejected"],
        ["rejected by rule", rules or "none"],
        ["pairs of ids with conflicting labels", f"{about.conflicts:,}"],
        ["split", ", ".join(f"{name} {count:,}" for name, count in about.split.items())],
        ["split by", escaped(about.split_by)],
        ["graphs", f"{about.atoms:,} atoms, {about.orbits:,} of them stored, {about.graph_edges:,} edges"],
        ["parameters", f"{about.parameters:,}"],
        ["epochs", view["epochs"]],
        ["training", f"{duration(about.seconds)} on {escaped(about.device)}, {processes(about.processes)}"],
        ["throughput", throughput(about.structures_per_second, about.edges_per_second)],
        ["waiting for data", f"{about.data_wait:.1%} of the time, {about.data} graphs"],
        ["peak memory", f"{about.peak_memory_mib:,} MiB a process"],
        *([f"auxiliary {escaped(name)}, validation MAE", each.text] for name, each in about.auxiliary.items()),
    ]
    rows += [
        [escaped(f"{group}.{name}" if group else name), escaped(value)]
        for group, values in view["settings"]
        for name, value in values
    ]
    return table(["", ""], rows, numbers=slice(2, None))
