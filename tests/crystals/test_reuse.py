"""A graph shard that reuses rows of an earlier one has the bytes of a shard that was made from nothing."""

import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crystals import graphs
from crystals.config import GraphConfig
from crystals.reuse import EarlierFiles
from storage import schemas

CONFIG = GraphConfig(cutoff=5.0, max_neighbors=4, vectors=True)
AUXILIARY = ("other_ev",)
CHANGES = ("nothing", "geometry", "target", "split", "removed", "element", "space group", "sign of zero", "too thin")


@dataclass(frozen=True)
class Row:
    """One structure of a release: a cube with two atoms, which is rejected if its edge is far beyond the cutoff."""

    edge: float = 4.0
    z: int = 11
    target: float | None = 1.0
    split: str = "train"
    group: int | None = None
    zero: float = 0.0

    def as_dict(self, name: str) -> dict[str, object]:
        cube = [self.edge, self.zero, self.zero, self.zero, self.edge, self.zero, self.zero, self.zero, self.edge]
        atoms = {"atomic_numbers": [self.z, 17], "frac_coords": [0.0, 0.0, 0.0, 0.5, 0.5, 0.4]}
        other = None if self.target is None else -self.target
        labels = {"target_ev": self.target, "other_ev": other, "split": self.split, "spacegroup_number": self.group}
        return {"material_id": name, "formula": f"X{self.z}", "lattice": cube, **atoms, **labels}


def changed(row: Row, change: str, chance: random.Random) -> Row:
    """The row after one of CHANGES other than its removal."""
    return {
        "nothing": row,
        "geometry": replace(row, edge=chance.uniform(3.0, 5.0)),
        "target": replace(row, target=chance.choice([None, chance.uniform(-1, 1)])),
        "split": replace(row, split=chance.choice(["val", "test"])),
        "element": replace(row, z=chance.randint(1, 80)),
        "space group": replace(row, group=chance.choice([None, 1, 225])),
        "sign of zero": replace(row, zero=-row.zero),
        "too thin": replace(row, edge=chance.choice([12.0, 13.0])),
    }[change]


def shard(folder: Path, rows: dict[str, Row], earlier: list[EarlierFiles], target: str = "target_ev") -> EarlierFiles:
    """Writes the rows in this order and makes their graphs; `facts` of the run is beside them."""
    schema = schemas.accepted(schemas.structures([target, *AUXILIARY], ["split"]), target, AUXILIARY)
    columns = [
        {name if name != "target_ev" else target: value for name, value in row.as_dict(key).items()}
        for key, row in rows.items()
    ]
    folder.mkdir(parents=True)
    schemas.write_table(pa.Table.from_pylist(columns, schema=schema), folder / "structures-003.parquet")
    (folder / "out").mkdir()
    facts = graphs.build(
        graphs.GraphsSpec(
            output=folder / "out",
            scratch=folder,
            structures=folder / "structures-003.parquet",
            target=target,
            config=CONFIG,
            auxiliary=AUXILIARY,
            earlier=tuple(earlier),
        )
    )
    (folder / "facts").write_text(f"{facts['rows']} {facts['reused']} {facts['made']}")
    return EarlierFiles(structures=folder / "structures-003.parquet", graphs=folder / "out")


def contents(made: EarlierFiles) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(made.graphs.iterdir())}


def counts(made: EarlierFiles) -> tuple[int, ...]:
    """Rows, reused rows, made rows."""
    return tuple(map(int, (made.structures.parent / "facts").read_text().split()))


rows = st.builds(
    Row,
    edge=st.sampled_from([3.5, 4.0, 4.7, 12.0]),
    z=st.integers(1, 90),
    target=st.none() | st.floats(-2, 2),
    group=st.sampled_from([None, 2]),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(rows, st.sampled_from(CHANGES)), max_size=12),
    st.lists(rows, max_size=4),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_release_made_from_the_last_one_has_the_bytes_of_one_made_from_nothing(
    tmp_path_factory, old, new, shuffled, chance
):
    folder = tmp_path_factory.mktemp("releases")
    before = {f"m-{number}": row for number, (row, _) in enumerate(old)}
    after = {f"m-{n}": changed(row, change, chance) for n, (row, change) in enumerate(old) if change != "removed"}
    after |= {f"n-{number}": row for number, row in enumerate(new)}
    if shuffled:
        names = list(after)
        chance.shuffle(names)
        after = {name: after[name] for name in names}
    first = shard(folder / "first", before, [])
    fresh = shard(folder / "fresh", after, [])
    reusing = shard(folder / "reusing", after, [first])
    assert contents(reusing) == contents(fresh)
    again = shard(folder / "again", after, [first, reusing])
    assert contents(again) == contents(fresh)
    assert counts(again) == (len(after), len(after), 0)
    same_crystal = {"nothing", "target", "split"}
    kept = sum(change in same_crystal for _, change in old)
    assert kept <= counts(reusing)[1] <= len(after) - len(new)
    assert counts(fresh) == (len(after), 0, len(after))


def many(count: int) -> dict[str, Row]:
    """More rows than one batch of the program, some of them rejected."""
    edges = [3.5, 4.0, 4.4, 12.0]
    return {
        f"m-{number:05}": Row(edge=edges[number % 4], z=1 + number % 90, target=0.1 * number) for number in range(count)
    }


def test_more_rows_than_a_batch(tmp_path):
    before = many(1300)
    after = {name: row for name, row in before.items() if name != "m-00005"}
    after |= {f"m-{number:05}": replace(after[f"m-{number:05}"], edge=3.9) for number in range(100, 1300, 40)}
    first = shard(tmp_path / "first", before, [])
    reusing, fresh = shard(tmp_path / "reusing", after, [first]), shard(tmp_path / "fresh", after, [])
    assert contents(reusing) == contents(fresh)
    assert counts(reusing) == (1299, 1269, 30)
    assert len(pq.read_table(reusing.graphs / "rejected.parquet")) > 300


def test_graphs_for_another_target_are_reused(tmp_path):
    before = many(40)
    first = shard(tmp_path / "first", before, [])
    reusing = shard(tmp_path / "reusing", before, [first], target="gap_ev")
    assert contents(reusing) == contents(shard(tmp_path / "fresh", before, [], target="gap_ev"))
    assert counts(reusing) == (40, 40, 0)


def test_each_row_comes_from_the_first_earlier_shard_that_has_it(tmp_path):
    """Shards of two other releases have half of the rows each; a shard of something else has none."""
    all_rows = many(60)
    halves = [dict(list(all_rows.items())[:30]), dict(list(all_rows.items())[30:50])]
    other = {name: replace(row, edge=row.edge + 0.01) for name, row in all_rows.items()}
    earlier = [shard(tmp_path / str(n), part, []) for n, part in enumerate([other, *halves])]
    reusing = shard(tmp_path / "reusing", all_rows, earlier)
    assert contents(reusing) == contents(shard(tmp_path / "fresh", all_rows, []))
    assert counts(reusing) == (60, 50, 10)


@pytest.mark.parametrize("bit", [{"edge": float(np.nextafter(4.0, 5.0))}, {"zero": -0.0}])
def test_a_crystal_that_differs_in_the_last_bit_is_made_again(tmp_path, bit):
    row = Row(edge=4.0)
    first = shard(tmp_path / "first", {"a": row, "b": row}, [])
    nudged = {"a": row, "b": replace(row, **bit)}
    assert counts(shard(tmp_path / "nudged", nudged, [first])) == (2, 1, 1)


@pytest.mark.parametrize("rename", [False, True])
def test_another_material_with_the_same_crystal_is_made(tmp_path, rename):
    first = shard(tmp_path / "first", {"a": Row()}, [])
    assert counts(shard(tmp_path / "second", {"b" if rename else "a": Row()}, [first]))[1] == (0 if rename else 1)
