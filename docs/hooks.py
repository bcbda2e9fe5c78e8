"""The pages of the site that are made from the code whenever it is built, so that they cannot fall behind it.

Keys from the configuration models, commands from the argument parser, tables from the schemas, one page a package from
its docstrings; contributing and changelog are the files at the top of the repository.
"""

import argparse
import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import griffe
import pyarrow as pa
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel

from flows import cli
from flows.config import RetrainConfig, keys
from storage import schemas

ROOT = Path(__file__).parents[1]
KEYS = "keys.md"
LIMITS = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below", "maximum": "to"}
TYPES = {"string": "text", "boolean": "`true` or `false`", "null": "`null`"}
EXAMPLES = {  # the arguments of the schemas that depend on the source
    "structures": (["target"], ["split"]),
    "database": (["target"],),
    "accepted": (schemas.structures(["target"], ["split"]), "target"),
    "graphs": ("target", ["split"]),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    pages = {
        KEYS: keys_page(),
        "commands.md": commands_page(),
        "tables.md": tables_page(),
        "changelog.md": top_level("CHANGELOG.md"),
        "contributing.md": top_level("CONTRIBUTING.md"),
        **{f"reference/{package}.md": reference_page(package) for package in packages()},
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  MkDocs' names
    """Lead from each key that a page names, as `train.epochs` or `train.epochs=50`, to its row."""
    markdown = markdown.replace("](../CONTRIBUTING.md", "](contributing.md")
    if "/" in page.file.src_uri or page.file.src_uri == KEYS:
        return markdown
    groups = "|".join(name for name, _ in key_groups() if name)
    key = re.compile(rf"(?<!\[)`((?:{groups})\.[a-z_]+)(=[^`]*)?`")
    known = set(keys())
    parts = re.split(r"(^ *```.*?^ *```)", markdown, flags=re.DOTALL | re.MULTILINE)
    for place in range(0, len(parts), 2):  # code blocks are the odd ones
        parts[place] = key.sub(lambda m: f"[{m[0]}]({KEYS}#{m[1]})" if m[1] in known else m[0], parts[place])
    return "".join(parts)


def top_level(name: str) -> str:
    """A file at the top of the repository, its links as the site's pages need them."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def packages() -> list[str]:
    """The packages that are installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def key_groups() -> list[tuple[str, type[BaseModel]]]:
    """The configuration models by the name of their group, those without a group first."""
    found: list[tuple[str, type[BaseModel]]] = [("", RetrainConfig)]
    for name, field in RetrainConfig.model_fields.items():
        if isinstance(field.default, BaseModel):
            found.append((name, type(field.default)))
    return found


def keys_page() -> str:
    """Every key with its type, limits, default and meaning, by group."""
    parts = [
        "# Keys\n\nWhat a training can be told: `--set KEY=VALUE` on the command line, the same words in a YAML file "
        "for `--config`, in the form of the UI, and as arguments from Python. Values are YAML. The defaults are the "
        "recipe behind the figures of this project. `cgcnn retrain --help` prints the same list."
    ]
    for group, model in key_groups():
        prefix = f"{group}." if group else ""
        properties = model.model_json_schema(mode="validation")["properties"]
        rows = [
            [
                f"`{prefix}{name}`" + "{#" + f"{prefix}{name}" + "}",
                f"`{json.dumps(schema.get('default'), ensure_ascii=False)}`",
                described(schema),
                str(schema.get("description", "")),
            ]
            for name, schema in properties.items()
            if "$ref" not in schema
        ]
        doc = (model.__doc__ or "").partition("\n\n")[0]
        head = f"## {group}\n\n{doc}" if group else "## The run\n\nGiven without a group: `source=…`, or as an option."
        parts.append(f"{head}\n\n{table(['key', 'default', 'allowed', 'meaning'], rows)}")
    return "\n\n".join(parts) + "\n"


def described(schema: dict[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(described(part) for part in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema["type"]
    if kind == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(described(part) for part in schema['prefixItems'])}]"
        return f"list of {described(schema['items'])}"
    limits = [f"{word} {schema[name]:g}" for name, word in LIMITS.items() if name in schema]
    return " ".join([TYPES.get(kind, kind), *limits])


def commands_page() -> str:
    """Every command with its usage and arguments."""
    top = cli.parser()
    (commands,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help for action in commands._get_subactions()}
    parts = [f"# Commands\n\n{top.description}", usage(top), arguments(top)]
    for name, parser in commands.choices.items():
        text = parser.description or f"{str(helps[name])[:1].upper()}{str(helps[name])[1:]}."
        parts += [f"## cgcnn {name}", text, usage(parser), arguments(parser)]
        if any("--set" in action.option_strings for action in parser._actions):
            parts.append("Each of the [keys](keys.md) can be given to `--set`.")
    return "\n\n".join(parts) + "\n"


def usage(parser: argparse.ArgumentParser) -> str:
    """How a command is called."""
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=88)
    return f"```text\n{parser.format_usage().strip()}\n```"


def arguments(parser: argparse.ArgumentParser) -> str:
    """A table of a command's arguments."""
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        value = (
            "" if action.nargs == 0 else str(action.metavar or (action.dest.upper() if action.option_strings else ""))
        )
        names = [f"{option} {value}".strip() for option in action.option_strings] or [value or action.dest]
        rows.append([", ".join(f"`{name}`" for name in names), str(action.help or "")])
    return table(["argument", "meaning"], rows)


def tables_page() -> str:
    """Every table on disk with its columns, types and units."""
    module = griffe.load("storage.schemas", search_paths=[str(ROOT)])
    parts = ["# Tables\n\nEvery table is Parquet. A step's tables lie in its folder of the [store](store.md)."]
    for name, member in vars(schemas).items():
        schema = schemas_of(name, member)
        if schema is None:
            continue
        documented = module.members[name].docstring
        rows = [
            [f"`{f.name}`", f"`{f.type}`", (f.metadata or {}).get(b"unit", b"").decode(), "yes" if f.nullable else ""]
            for f in schema
        ]
        parts.append(f"## {name.lower()}\n\n{documented.value if documented else ''}")
        parts.append(table(["column", "type", "unit", "may be missing"], rows))
    return "\n\n".join(parts) + "\n"


def schemas_of(name: str, member: Any) -> pa.Schema | None:
    """The schema that a member of storage.schemas is or makes; None where it does neither."""
    if isinstance(member, pa.Schema):
        return member
    makes = getattr(member, "__annotations__", {}).get("return") is pa.Schema
    return member(*EXAMPLES[name]) if makes and not name.startswith("_") else None


def reference_page(package: str) -> str:
    """What the modules of a package offer, from their docstrings."""
    names, rows = [], []
    for path in sorted((ROOT / package).rglob("*.py")):
        if path.stem != "__init__":
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            documented = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            names.append(name)
            rows.append([f"[{name}](#{name})", documented.partition("\n\n")[0].replace("\n", " ")])
    return "\n\n".join([f"# {package}", table(["module", "what it is"], rows), *(f"::: {n}" for n in names)]) + "\n"
