"""The URL of a database: parsed, searched for a password, and shown without one. Imports neither Prefect nor Optuna."""

import re
from urllib.parse import unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from storage.errors import InputError

HIDDEN = "***"
SECRET_KEY = re.compile("passw|passphrase|pwd|secret|token", re.IGNORECASE)
SECRET_VALUE = re.compile(r"(password|pwd)\s*=", re.IGNORECASE)  # as in the query's odbc_connect=UID=ann;PWD=…


def parse_url(url: str) -> URL:
    """Raises InputError, which does not repeat it, if the text is no URL of a database."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # the second: of a port that is no number
        raise InputError("storage: is no URL of a database, as postgresql+psycopg2://host/database") from None


def secrets_in(url: str) -> list[str]:
    """The passwords in a URL: before its host, in its query, and where a slash makes them a part of its path."""
    parsed = parse_url(url)
    found = [str(parsed.password)] if parsed.password is not None else []
    for key, value in parsed.query.items():
        values = [value] if isinstance(value, str) else value
        found += [text for text in values if SECRET_KEY.search(key) or SECRET_VALUE.search(text)]
    return [*_misplaced(parsed, url), *found]


def _misplaced(parsed: URL, url: str) -> list[str]:
    """What follows the user in a URL that was parsed otherwise: in `://ann/x:secret@host` as host and path, in
    `://ann:secret@more@host` up to the first @.
    """
    before, at, _ = url.partition("?")[0].partition("://")[2].rpartition("@")
    secret = before.partition(":")[2]
    if not at or not secret or unquote(secret) == parsed.password or parsed.get_backend_name() == "sqlite":
        return []
    return [secret, *secret.split("@")]


def masked(url: str) -> str:
    """The URL with *** in the place of its password, and of all values in its query."""
    parsed = parse_url(url)
    if _misplaced(parsed, url):
        return f"{parsed.drivername}://{HIDDEN}"
    shown = parsed.set(query={}).render_as_string(hide_password=True)
    return shown + ("?" + "&".join(f"{key}={HIDDEN}" for key in sorted(parsed.query)) if parsed.query else "")
