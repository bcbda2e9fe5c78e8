"""The Arrow schema of every table on disk: its columns, with their units in the fields' metadata."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.units import unit_of

MATERIAL_ID = "material_id"
ROW_GROUP = 4096  # rows


def _field(name: str, kind: pa.DataType, unit: str = "", *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit} if unit else None)


def target_field(target: str) -> pa.Field:
    """The float64 column of a target, with its unit. It is null if the source has no value."""
    return _field(target, pa.float64(), unit_of(target), nullable=True)


IDENTITY = (
    _field(MATERIAL_ID, pa.string()),
    _field("formula", pa.string()),  # reduced
)
SPACEGROUP = _field("spacegroup_number", pa.int16(), nullable=True)
CRYSTAL = (
    _field("lattice", pa.list_(pa.float64(), 9), "Å", nullable=True),  # rows are a, b, c
    _field("atomic_numbers", pa.list_(pa.uint8()), nullable=True),
    _field("frac_coords", pa.list_(pa.float64()), nullable=True),  # 3N, fractions of the lattice vectors
)
FAULT = (
    _field("fault_rule", pa.string(), nullable=True),  # set by a source that could not read the row
    _field("fault_message", pa.string(), nullable=True),
)


LAST_UPDATED = "last_updated"
FUNCTIONAL = "functional"
PROVENANCE = (
    _field(LAST_UPDATED, pa.string(), nullable=True),  # as the database writes it
    _field(FUNCTIONAL, pa.string(), nullable=True),  # GGA, GGA+U, R2SCAN; null where not known
)
PARTIAL = "partial"  # in a target's metadata


def split_columns(names: list[str]) -> list[str]:
    """The columns by which a source publishes its splits: `split`, `split_…` (train, val, test), `…_fold` (0, 1, …)."""
    return [n for n in names if n == "split" or n.startswith("split_") or n == "fold" or n.endswith("_fold")]


def splitting_columns(names: list[str]) -> list[str]:
    """The columns that decide on splits: the published ones, and the time of a row's last change."""
    return [*split_columns(names), *([LAST_UPDATED] if LAST_UPDATED in names else [])]


def structures(targets: list[str], splits: list[str]) -> pa.Schema:
    """One row a structure. A row that the source could not read has a `fault_rule` and no crystal.

    `splits` are the names of the source's own split columns, kept as text: train, validation, test, or a fold's number.
    """
    return pa.schema([*IDENTITY, *CRYSTAL, *map(target_field, targets), SPACEGROUP, *_published(splits), *FAULT])


def database(targets: list[str]) -> pa.Schema:
    """A structures table of a database in which a material may lack some properties: a missing value is not an error.

    Each row has the time of its last change in the database, and the functional of its energy.
    """
    partial = [field.with_metadata({**(field.metadata or {}), PARTIAL: "true"}) for field in map(target_field, targets)]
    return pa.schema([*IDENTITY, *CRYSTAL, *partial, SPACEGROUP, *PROVENANCE, *FAULT])


def is_partial(field: pa.Field) -> bool:
    """Whether a value of the target may be missing without the row being wrong."""
    return PARTIAL.encode() in (field.metadata or {})


def accepted(source: pa.Schema, target: str, auxiliary: Sequence[str] = ()) -> pa.Schema:
    """A structures table after validation: every row has a crystal and the target, and may have the auxiliary ones."""
    targets = map(target_field, (target, *auxiliary))
    return pa.schema([*IDENTITY, *CRYSTAL, *targets, SPACEGROUP, *_published(splitting_columns(source.names))])


def _published(splits: list[str]) -> list[pa.Field]:
    return [_field(name, pa.string(), nullable=True) for name in splits]


CELL_VOLUME_PER_ATOM = "cell_volume_per_atom"  # not `volume_per_atom`, which may be somebody's target
EDGE_VECTOR = "edge_vector"


def graphs(target: str, splits: list[str], auxiliary: Sequence[str] = (), *, vectors: bool = False) -> pa.Schema:
    """One row a structure; the lists are CSR: offsets over N atoms and E edges, edges sorted by (target, distance)."""
    vector = [_field(EDGE_VECTOR, pa.list_(pa.float32()), "Å")] if vectors else []  # 3E, from target to source
    return pa.schema(
        [
            *IDENTITY,
            _field("atomic_numbers", pa.list_(pa.uint8())),
            _field("multiplicity", pa.list_(pa.uint16())),  # atoms that this one stands for
            _field("edge_source", pa.list_(pa.int32())),
            _field("edge_target", pa.list_(pa.int32())),
            _field("edge_distance", pa.list_(pa.float32()), "Å"),
            _field("edge_image", pa.list_(pa.int16())),  # 3E, the lattice steps from target's cell to source's
            *vector,
            _field(CELL_VOLUME_PER_ATOM, pa.float64(), "Å³"),
            *map(target_field, (target, *auxiliary)),
            SPACEGROUP,
            *_published(splits),
        ]
    )


RESERVED = {"multiplicity", "edge_source", "edge_target", "edge_distance", "edge_image", "fault_rule", "fault_message"}
RESERVED |= {CELL_VOLUME_PER_ATOM, EDGE_VECTOR}

REJECTED = pa.schema([_field(MATERIAL_ID, pa.string()), _field("rule", pa.string()), _field("message", pa.string())])
"""One row a structure that was put aside: the rule that it breaks, and how."""

CONFLICTS = pa.schema(
    [
        _field(MATERIAL_ID, pa.string()),
        _field("other_id", pa.string()),
        _field("value", pa.float64()),
        _field("other_value", pa.float64()),
    ]
)
"""One row a pair of ids with the same structure and labels that contradict each other."""

PREDICTIONS = pa.schema(
    [
        *IDENTITY,
        _field("split", pa.string()),
        _field("target", pa.float64()),
        _field("predicted", pa.float64()),
        _field("atomic_numbers", pa.list_(pa.uint8())),
        SPACEGROUP,
    ]
)
"""One row a structure of any split, in the target's unit; a probability in a classification."""

PREDICTED_DEVIATIONS = PREDICTIONS.append(_field("predicted_deviation", pa.float64()))
"""The same of a model that also predicts the standard deviation of its error, in the target's unit: uncalibrated."""

CALIBRATED_PREDICTIONS = pa.schema(
    [
        *PREDICTIONS,
        _field("standard_deviation", pa.float64()),
        _field("low", pa.float64()),
        _field("high", pa.float64()),
    ]
)
"""The same with an uncertainty; an ensemble's `predicted` is the mean of its members. `standard_deviation` is that of
the error, calibrated on the validation rows; `low` and `high` are the ends of the conformal interval. All in the
target's unit.
"""

OUT_OF_FOLD = pa.schema([_field("fold", pa.int32()), *(field for field in PREDICTIONS if field.name != "split")])
"""One row a structure: what the model of the fold in which it is a test row predicts for it."""

FOLDS = pa.schema(
    [
        _field("fold", pa.int32()),
        _field("train", pa.int64()),  # rows
        _field("validation", pa.int64()),
        _field("test", pa.int64()),
        _field("epochs", pa.int32()),
        _field("kept_epoch", pa.int32()),
        _field("mae", pa.float64(), "of the target", nullable=True),  # of the test rows, null for a classification
        _field("rmse", pa.float64(), "of the target", nullable=True),
        _field("r2", pa.float64(), nullable=True),
        _field("baseline_mae", pa.float64(), "of the target", nullable=True),
        _field("roc_auc", pa.float64(), nullable=True),  # null for a regression
        _field("accuracy", pa.float64(), nullable=True),
        _field("baseline_accuracy", pa.float64(), nullable=True),
    ]
)
"""One row a fold of a cross-validation: its rows, its training, and the errors of its test rows."""

ABLATION = pa.schema(
    [
        _field("variant", pa.string()),
        _field("settings", pa.string()),  # that differ from the full model's, as JSON
        _field("seeds", pa.int32()),
        _field("parameters", pa.int64()),
        _field("mae", pa.float64(), "of the target"),  # mean over the seeds, of the test rows that all models have
        _field("mae_deviation", pa.float64(), "of the target", nullable=True),  # over the seeds; null for one
        _field("difference", pa.float64()),  # from the full model's MAE, as a share of it
        _field("low", pa.float64()),  # the ends of its 95 % interval
        _field("high", pa.float64()),
    ]
)
"""One row a variant of an ablation, the full model first."""

CURVE = pa.schema(
    [
        _field("share", pa.float64()),  # of the training rows
        _field("seed", pa.int32()),
        _field("train", pa.int64()),  # rows
        _field("epochs", pa.int32()),
        _field("mae", pa.float64(), "of the target"),
        _field("rmse", pa.float64(), "of the target"),
    ]
)
"""One row a model of a learning curve: how many rows it was trained on, and the errors of its test rows."""

HISTORY = pa.schema(
    [
        _field("epoch", pa.int32()),
        _field("learning_rate", pa.float64()),
        _field("train_loss", pa.float64()),
        _field("validation_mae", pa.float64()),
    ]
)
"""One row an epoch."""

GATES = pa.schema(
    [
        _field("layer", pa.int16()),
        _field("distance", pa.float64(), "Å"),  # the middle of the bin
        _field("mean_gate", pa.float64()),
        _field("edges", pa.int64()),
    ]
)
"""One row a convolution layer and bin of distances: the mean of the gate over the edges in it."""


ERRORS = pa.schema(
    [
        _field("kind", pa.string()),  # elements (how many), crystal_system, space_group, element, distance, zero
        _field("key", pa.string()),
        _field("count", pa.int64()),  # test rows in the group
        _field("mae", pa.float64(), "of the target"),  # classification: share of rows put in the wrong class
    ]
)
"""One row a group of test structures."""

WORST = pa.schema(
    [
        *IDENTITY,
        _field("target", pa.float64()),
        _field("predicted", pa.float64()),
        _field("error", pa.float64()),  # predicted − target
        SPACEGROUP,
    ]
)
"""The test structures with the largest errors, the largest first."""


TRIALS = pa.schema(
    [
        _field("stage", pa.int16()),
        _field("number", pa.int32()),  # of the trial, in Optuna's study of the stage
        _field("state", pa.string()),  # complete, pruned, fail
        _field(
            "validation_error", pa.float64(), "of the target", nullable=True
        ),  # of a pruned one, after its last epoch
        _field("epochs", pa.int32(), nullable=True),
        _field("seconds", pa.float64(), "s", nullable=True),
        _field("validation_rows", pa.int64(), nullable=True),
        _field("parameters", pa.string()),  # JSON: a value by key
        _field("reason", pa.string()),  # why it failed
        _field("model", pa.string(), nullable=True),  # the key of its training, a folder of `store/train-model/`
    ]
)
"""One row a trial of a sweep."""


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file; the same rows give the same bytes: fixed compression and row groups, no time stamps."""
    pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP)


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """`write_table` by pieces: yields its `write`. The same bytes, if each piece but the last has ROW_GROUP rows."""
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield lambda table: writer.write_table(table, row_group_size=ROW_GROUP)


def safe_name(text: str) -> str:
    """`text` as a part of a file name: other characters than letters, digits, `.`, `-`, `_` become dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"
