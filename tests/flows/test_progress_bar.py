"""The bar of `cgcnn predict`: on the standard error of a terminal, and nowhere else."""

import os
import pty
import subprocess
import sys

CODE = """
import sys
from flows.progress_bar import progress_bar
with progress_bar(lambda line: print("logged", line, file=sys.stderr)) as (log, show):
    log("a [red] line")
    if show is not None:
        show("read", 30, 0)
        show("predicted", 20, 40)
    print("the table")
"""


def test_in_a_terminal_a_bar_is_drawn_and_the_standard_output_stays_the_tables():
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=end, env=environment) as child:
        os.close(end)
        drawn = b""
        while chunk := _read(terminal):
            drawn += chunk
        assert child.stdout.read() == b"the table\n"
    os.close(terminal)
    assert child.returncode == 0
    text = drawn.decode()
    assert "a [red] line" in text
    assert "30/?" in text
    assert "20/40" in text


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that nobody writes any more
        return b""


def test_without_a_terminal_there_are_lines_alone():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "the table\n"
    assert done.stderr == "logged a [red] line\n"
