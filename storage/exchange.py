"""Batches of tables on their way from one program to another that runs at the same time: a folder, taken up in order.

The program that offers them waits while AHEAD of them have not been taken, so what lies between the two stays small.
"""

import itertools
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import feather

AHEAD = 2
PAUSE = 0.01  # s between two looks
LAST = "last"  # a file that says that no further batch will come

Tables = dict[str, pa.Table]


def offer(folder: Path, batches: Iterable[Tables]) -> None:
    """Write the batches, each as soon as less than AHEAD are there; of an iterator no more is read before that."""
    stream = iter(batches)
    for number in itertools.count():
        while len(list(folder.glob("[0-9]*"))) >= AHEAD:
            time.sleep(PAUSE)
        tables = next(stream, None)
        if tables is None:
            break
        aside = folder / f".{number}"
        aside.mkdir()
        for name, table in tables.items():
            feather.write_feather(table, aside / name, compression="uncompressed")
        aside.rename(_place(folder, number))
    (folder / LAST).touch()


def taken(folder: Path) -> Iterator[Tables]:
    """The batches in their order, waiting for each; one is deleted once the next is asked for."""
    for number in itertools.count():
        place = _place(folder, number)
        while not place.exists():
            if (folder / LAST).exists() and not place.exists():
                return
            time.sleep(PAUSE)
        yield {path.name: feather.read_table(path, memory_map=False) for path in place.iterdir()}
        shutil.rmtree(place)


def _place(folder: Path, number: int) -> Path:
    return folder / f"{number:08}"
