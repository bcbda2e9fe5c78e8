"""Batches between two programs that run at the same time."""

import threading
from collections.abc import Iterator

import pyarrow as pa

from storage.exchange import AHEAD, Tables, offer, taken


def test_batches_come_in_order_and_none_is_made_long_before_it_is_taken(tmp_path):
    """Whatever the speeds: no more are made than the one in work, AHEAD that lie there, and the next."""
    made: list[int] = []

    def batches() -> Iterator[Tables]:
        for number in range(30):
            made.append(number)
            yield {"x": pa.table({"number": [number] * 3}), "y": pa.table({"empty": pa.array([], pa.int8())})}

    thread = threading.Thread(target=offer, args=[tmp_path, batches()], daemon=True)
    thread.start()
    ahead = 0
    for number, tables in enumerate(taken(tmp_path)):
        assert tables["x"]["number"].to_pylist() == [number] * 3
        assert len(tables["y"]) == 0
        ahead = max(ahead, len(made) - number)
        assert len(list(tmp_path.glob("0*"))) <= AHEAD
    thread.join(30)
    assert made == list(range(30))
    assert number == 29
    assert ahead <= AHEAD + 1


def test_no_batch_at_all_is_an_end_too(tmp_path):
    offer(tmp_path, [])
    assert list(taken(tmp_path)) == []
