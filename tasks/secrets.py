"""The API key of the Materials Project: from the environment, or from a Prefect Secret block."""

import os

from prefect.blocks.system import Secret
from pydantic import SecretStr

from storage.errors import InputError

VARIABLE = "MP_API_KEY"
BLOCK = "mp-api-key"


def materials_project_key() -> dict[str, SecretStr]:
    """The key, under the name that the program reads it from. Raises InputError if there is none; blanks are none."""
    key = os.environ.get(VARIABLE, "").strip() or _from_block()
    if not key:
        raise InputError(
            f"source materials-project: no API key; set {VARIABLE}, or make the Prefect Secret block {BLOCK} "
            "(keys are at https://next-gen.materialsproject.org/api)"
        )
    return {VARIABLE: SecretStr(key)}


def _from_block() -> str:
    """The key in the block; empty if there is no block."""
    try:
        return str(Secret.load(BLOCK).get()).strip()  # type: ignore[union-attr]  # awaitable in async code alone
    except ValueError:
        return ""
