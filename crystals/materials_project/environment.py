"""What the environment says of the service: its address and the key. Does not load the service's client."""

import os

from storage.errors import InputError

PUBLIC = "https://api.materialsproject.org/"


def endpoint() -> str:
    """The service's address with a slash at its end, from the variables that the client reads."""
    address = os.environ.get("MPRESTER_ENDPOINT") or os.environ.get("MP_API_ENDPOINT") or PUBLIC
    return address if address.endswith("/") else f"{address}/"


def key_from_environment() -> str:
    """The API key from MP_API_KEY. Raises InputError, without the key in it, if it is not 32 letters and digits."""
    key = os.environ.get("MP_API_KEY", "")
    if len(key) != 32 or not (key.isascii() and key.isalnum()):
        raise InputError(f"MP_API_KEY: expected 32 letters and digits, got {len(key)} characters")
    return key
