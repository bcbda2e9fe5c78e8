"""Settings that must stand before Prefect is imported, here and in every process that a test starts."""

import os
import tempfile

os.environ.update(
    PREFECT_HOME=tempfile.mkdtemp(prefix="prefect-home-"),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    NO_PROXY="127.0.0.1,localhost",
)
