"""Matbench's own files: the folds that Matbench publishes for a task, and nothing for a file that is none."""

import json

import numpy as np
import pytest

from crystals.sources.matbench import folds_of
from crystals.sources.table import Table
from storage import schemas
from storage.matbench import ROWS, task_id

# The first test rows of fold 0 and of fold 1, as the package matbench has them (matbench_v0.1_validation.json).
PUBLISHED = {
    "matbench_phonons": (["mb-phonons-0002", "mb-phonons-0003", "mb-phonons-0007"],
                         ["mb-phonons-0005", "mb-phonons-0009", "mb-phonons-0012"]),
    "matbench_jdft2d": (["mb-jdft2d-012", "mb-jdft2d-014", "mb-jdft2d-027"],
                        ["mb-jdft2d-003", "mb-jdft2d-005", "mb-jdft2d-007"]),
}  # fmt: skip
CRYSTAL = {"lattice": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "species": ["Na"], "frac_coords": [[0, 0, 0]]}


@pytest.mark.parametrize("task", PUBLISHED)
def test_the_folds_are_the_published_ones(task):
    folds = folds_of(task)
    for fold, first in enumerate(PUBLISHED[task]):
        assert [task_id(task, int(row) + 1) for row in np.flatnonzero(folds == fold)[:3]] == first


@pytest.mark.parametrize("task", ROWS)
def test_each_row_is_in_one_of_five_folds_that_differ_by_a_row_at_most(task):
    counts = np.bincount(folds_of(task))
    assert len(counts) == 5
    assert counts.sum() == ROWS[task]
    assert counts.max() - counts.min() <= 1


@pytest.fixture
def task_file(tmp_path):
    """task_file(name, ids): a file in Matbench's layout."""

    def make(name, ids):
        path = tmp_path / name
        rows = [[*CRYSTAL.values(), float(n)] for n in range(len(ids))]
        path.write_text(json.dumps({"index": ids, "columns": [*CRYSTAL, "exfoliation_en"], "data": rows}))
        return Table(path)

    return make


@pytest.mark.parametrize("name_of", [lambda row: row, lambda row: task_id("matbench_jdft2d", row + 1)])
def test_the_file_of_a_task_has_its_folds(task_file, name_of):
    table = task_file("matbench_jdft2d.json", [name_of(row) for row in range(636)])
    assert table.splits() == ["matbench_test_fold"]
    assert table.split_values("matbench_test_fold") == {"0", "1", "2", "3", "4"}
    schema = schemas.structures(table.targets(), table.splits())
    said = [fold for batch in table.batches(schema) for fold in batch.column("matbench_test_fold").to_pylist()]
    assert said == [str(fold) for fold in folds_of("matbench_jdft2d")]


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("matbench_jdft2d.json", range(635)),
        ("matbench_jdft2d.json", [*range(1, 636), 0]),
        ("jdft2d.json", range(636)),
    ],
)
def test_other_rows_another_order_or_another_name_have_no_folds(task_file, name, ids):
    table = task_file(name, list(ids))
    assert table.splits() == []
    assert table.contents() == Table(table._path).contents()


def test_the_contents_of_a_task_are_not_those_of_the_same_file_without_folds(task_file):
    """Else a store that has the table without folds would be asked for them in vain."""
    one, other = task_file("matbench_jdft2d.json", list(range(636))), task_file("jdft2d.json", list(range(636)))
    assert one.contents() != other.contents()
