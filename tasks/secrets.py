"""The API key of the Materials Project: from the environment, or from a Prefect Secret block."""

import os

from prefect.blocks.system import Secret
from pydantic import SecretStr

from storage.errors import InputError

VARIABLE = "MP_API_KEY"
BLOCK = "mp-api-key"


def materials_project_key() -> dict[str, SecretStr]:
    """The key, under the name that the program reads it from. Raises InputError if there is none."""
    key = os.environ.get(VARIABLE) or _from_block()
    return {VARIABLE: SecretStr(key.strip())}


def _from_block() -> str:
    try:
        return str(Secret.load(BLOCK).get())  # type: ignore[union-attr]  # awaitable in async code alone
    except ValueError:
        raise InputError(
            f"source materials-project: no API key; set {VARIABLE}, or make the Prefect Secret block {BLOCK} "
            "(keys are at https://next-gen.materialsproject.org/api)"
        ) from None
