"""Settings that must stand before Prefect is imported, here and in every process that a test starts."""

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

home = tempfile.mkdtemp(prefix="prefect-home-")
atexit.register(shutil.rmtree, home, ignore_errors=True)
os.environ.update(
    PREFECT_HOME=home,
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    NO_PROXY="127.0.0.1,localhost",
)

# How long an example takes says something about the machine, nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
