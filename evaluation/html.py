"""Renders self-contained HTML pages from templates, with the styles and scripts that figures need."""

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from evaluation import formatting

FOLDER = Path(__file__).parent / "template"
SCRIPTS = ("report.js", "save.js")
STYLES = ("report.css",)


def render(template: str, view: dict[str, Any], scripts: Sequence[str] = (), styles: Sequence[str] = ()) -> str:
    """The page as HTML. Every value of `view` is escaped, and a name that `view` lacks is an error.

    `scripts` and `styles` are files of the folder template/ that the page needs besides SCRIPTS and STYLES. The
    template gets their text as `scripts` and `style`, and the `digests` of the scripts (base64 of SHA-256), which its
    Content-Security-Policy names so that nothing else may run.
    """
    env = Environment(
        loader=PackageLoader("evaluation", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    env.filters |= {
        "significant": formatting.significant,
        "share": formatting.share,
        "duration": formatting.duration,
        "formula": format_formula,
        "fixed": formatting.fixed,
    }
    env.globals |= {
        "format_count": formatting.format_count,
        "throughput": formatting.throughput,
        "processes": formatting.processes,
        "page_of": page_of,
        "breakable": breakable,
    }
    texts = [(FOLDER / name).read_text(encoding="utf-8") for name in (*SCRIPTS, *scripts)]
    style = "".join((FOLDER / name).read_text(encoding="utf-8") for name in (*STYLES, *styles))
    page = {
        "scripts": [Markup(text) for text in texts],
        "digests": [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts],
        "style": Markup(style),
    }
    return env.get_template(template).render(**view, **page)


def format_formula(formula: str) -> str:
    """A formula with subscripts: SrTiO3 becomes SrTiO₃. Text that is not a formula is returned unchanged."""
    if not re.fullmatch(r"(?:[A-Z][a-z]?|[()]|\d+(?:\.\d+)?)+", formula):
        return formula
    return re.sub(r"(?<=[A-Za-z)])[\d.]+", lambda m: m[0].translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")), formula)


def breakable(name: str) -> Markup:
    """A name as HTML that may go on in the next line after an underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


def page_of(material_id: str, template: str | None) -> str | None:
    """The address of a material's page; None if the source has no such pages or the id has unusual characters."""
    if not template or not template.startswith("https://") or not re.fullmatch(r"[\w.-]+", material_id):
        return None
    return template.replace("{id}", quote(material_id, safe=""))
