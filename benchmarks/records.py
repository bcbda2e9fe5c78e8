"""The runs behind the table of errors: each by its published protocol, each a line that can be run alone.

    python benchmarks/records.py --list
    python benchmarks/records.py NAME… --data FOLDER [--store store] [--write docs/experiments.md]

FOLDER has the tables that `--list` names. A run is `cgcnn retrain` or `cgcnn crossvalidate`, in the store: what is
there already is not trained again. One that starts from another one's model runs that first. Its result is printed as
a row of a table, and with `--write` appended to that file.

`mp2019_other.parquet` is the part of mp2019_extra whose reduced formulas no validation row of mp2018 has, so that no
model has seen the energy of what it is measured on:

    python benchmarks/records.py --other --data FOLDER
"""

import argparse
import datetime
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

WIDE = ("--config", "cogn", "--set", "model.atom_fea_len=128")
LONG = ("--set", "train.epochs=144", "--set", "train.batch_size=128", "--set", "train.ema=0.999")
PRETRAINED = ("--set", "train.epochs=110", "--set", "train.batch_size=128", "--set", "train.ema=0.999")
NOMAD_LONG = (
    *("--set", "train.minutes=85", "--set", "train.batch_size=16"),
    *("--set", "train.ema=0.999", "--set", "train.learning_rate=0.001"),
)
HARDLY_HELD_OUT = ("--set", "split.test=0.01", "--set", "split.validation=0.01")
OTHER = "mp2019_other.parquet"


@dataclass(frozen=True)
class Record:
    """A command of `cgcnn` on a table, and what it is measured by."""

    command: str
    table: str
    target: str
    settings: tuple[str, ...] = ()
    protocol: str = "the published split"
    start: str | None = None  # the record whose model it starts from

    def line(self, data: Path, store: Path) -> list[str]:
        """The command line, without `cgcnn`."""
        place = ["--source", str(data / self.table), "--target", self.target, "--store", str(store)]
        start = ["--start-from", f"<the run of {self.start}>"] if self.start else []
        return [self.command, *place, *self.settings, *start]


FOLDS = "Matbench v0.1, five published folds"
PHONONS = ("matbench_phonons.parquet", "last_phdos_peak_per_cm")
LAYERS = ("matbench_jdft2d.parquet", "exfoliation_energy_mev_per_atom")
NOMAD_ENERGY = ("nomad2018.parquet", "formation_energy_ev_natom")
NOMAD_GAP = ("nomad2018.parquet", "band_gap_ev")
MP_ENERGY = ("mp2018.parquet", "formation_energy_per_atom_ev")
MP_GAP = ("mp2018.parquet", "band_gap_ev")
PEROVSKITES = ("perov5.parquet", "heat_all_ev")
AFLOW = "aflow_elastic.parquet"
LOG = ("--set", "model.head=log")
COGN = ("--config", "cogn")
LARGEST = ("--set", "model.pooling=max")
BY_THERMAL = ("--set", "split.column=split_thermal")
FINE_TUNED = (*COGN, "--set", "train.epochs=100", "--set", "train.learning_rate=0.001")
DRAWN = ("--set", "split.published=false", "--set", "split.folds=5")
# With one thread each (OMP_NUM_THREADS=1) two of these at once are what two cores do in that time.
SMALL_STEPS = ("--set", "train.batch_size=64", "--set", "train.ema=0.999")
HOUR = (*SMALL_STEPS, "--set", "train.minutes=75")
LONGER = (*SMALL_STEPS, "--set", "train.readout=kept", "--set", "train.learning_rate=0.001")

RECORDS = {
    "phonons": Record("crossvalidate", *PHONONS, COGN, FOLDS),
    "phonons-ensemble": Record("crossvalidate", *PHONONS, (*COGN, "--set", "train.members=4"), FOLDS),
    "phonons-max": Record("crossvalidate", *PHONONS, (*COGN, *LARGEST), FOLDS),
    "phonons-both": Record(
        "crossvalidate",
        *PHONONS,
        (*COGN, "--set", "member_settings=[{model.pooling: max}, {model.pooling: mean}]"),
        FOLDS,
    ),
    "phonons-cgcnn": Record("crossvalidate", *PHONONS, (), FOLDS),
    "phonons-cgcnn-max": Record("crossvalidate", *PHONONS, LARGEST, FOLDS),
    "jdft2d": Record("crossvalidate", *LAYERS, (*COGN, "--set", "train.epochs=300", *LOG), FOLDS),
    "perovskites": Record("crossvalidate", *PEROVSKITES, DRAWN, "five folds drawn by hash"),
    "perovskites-longer": Record(
        "crossvalidate", *PEROVSKITES, (*DRAWN, "--set", "train.epochs=240"), "five folds drawn by hash"
    ),
    "aflow-bulk": Record("retrain", AFLOW, "bulk_modulus_gpa"),
    "aflow-debye": Record("retrain", AFLOW, "debye_temperature_k", LOG),
    "aflow-shear": Record("retrain", AFLOW, "shear_modulus_gpa", LOG),
    "aflow-conductivity": Record("retrain", AFLOW, "thermal_conductivity_w_per_mk", (*BY_THERMAL, *LOG)),
    **{
        f"aflow-{name}-pretrained": Record("retrain", AFLOW, *rest, start="mp2018-energy-cpu-longer")
        for name, rest in {
            "bulk": ("bulk_modulus_gpa", FINE_TUNED),
            "debye": ("debye_temperature_k", (*FINE_TUNED, *LOG)),
            "shear": ("shear_modulus_gpa", (*FINE_TUNED, *LOG)),
        }.items()
    },
    "aflow-conductivity-cogn": Record(
        "retrain",
        AFLOW,
        "thermal_conductivity_w_per_mk",
        (*COGN, "--set", "train.epochs=100", *BY_THERMAL, *LOG),
    ),
    "nomad-energy": Record("retrain", *NOMAD_ENERGY),
    "nomad-energy-cogn": Record("retrain", *NOMAD_ENERGY, COGN),
    "nomad-gap": Record("retrain", *NOMAD_GAP),
    "nomad-gap-cogn": Record("retrain", *NOMAD_GAP, COGN),
    "nomad-energy-pretrained": Record("retrain", *NOMAD_ENERGY, (*WIDE, *NOMAD_LONG), start="mp2019-energy"),
    "nomad-space-group": Record(
        "retrain",
        *NOMAD_ENERGY,
        ("--set", "split.group=space_group", "--set", "split.leave_out=[167]"),
        "space group 167 left out",
    ),
    "mp2018-energy-cpu": Record("retrain", *MP_ENERGY, (*COGN, *HOUR), "the published validation rows"),
    "mp2018-gap-cpu": Record("retrain", *MP_GAP, (*COGN, *HOUR), "the published validation rows"),
    "mp2018-energy-cpu-longer": Record(
        "retrain",
        *MP_ENERGY,
        (*COGN, *LONGER, "--set", "train.minutes=42"),
        "the published validation rows",
        start="mp2018-energy-cpu",
    ),
    "mp2018-gap-cpu-longer": Record(
        "retrain",
        *MP_GAP,
        (*COGN, *LONGER, "--set", "train.minutes=14"),
        "the published validation rows",
        start="mp2018-gap-cpu",
    ),
    "mp2018-energy": Record("retrain", *MP_ENERGY, (*WIDE, *LONG), "the published validation rows"),
    "mp2018-gap": Record("retrain", *MP_GAP, (*WIDE, *LONG), "the published validation rows"),
    "mp2019-energy": Record(
        "retrain",
        *(OTHER, MP_ENERGY[1]),
        (*WIDE, "--set", "train.epochs=27", *PRETRAINED[2:], *HARDLY_HELD_OUT),
        "a hundredth drawn by hash",
    ),
    "mp2018-energy-pretrained": Record(
        "retrain",
        *MP_ENERGY,
        (*WIDE, *PRETRAINED, "--set", "train.learning_rate=0.0015", "--set", "train.readout=kept"),
        "the published validation rows",
        start="mp2019-energy",
    ),
    "mp2018-gap-pretrained": Record(
        "retrain", *MP_GAP, (*WIDE, *PRETRAINED), "the published validation rows", start="mp2019-energy"
    ),
    "mp2018-systems": Record(
        "retrain",
        *MP_ENERGY,
        ("--set", "split.published=false", "--set", "split.group=chemical_system", "--set", "train.epochs=40"),
        "a tenth of the chemical systems left out",
    ),
}


def result_of(record: Record, data: Path, store: Path) -> tuple[str, str]:
    """Run it: the run's name, and the sentence in which `cgcnn` says what it found.

    A run that fails ends the script with its message.
    """
    line = record.line(data, store)
    if record.start:
        line[-1], _ = result_of(RECORDS[record.start], data, store)
    done = subprocess.run(["cgcnn", *line], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    said = [line for line in done.stdout.splitlines() if not line.startswith("{")]
    place = next(number for number, line in enumerate(said) if "test MAE" in line)
    return said[place - 1].partition(":")[0], said[place].partition("  (")[0]


def write_other(data: Path) -> None:
    """Write OTHER, from the tables beside it."""
    wanted = pq.read_table(data / "mp2018.parquet", columns=["formula", "split"])
    table = pq.read_table(data / "mp2019_extra.parquet")
    held_out = wanted.filter(pc.not_equal(wanted["split"], "train"))["formula"]
    other = table.filter(pc.invert(pc.is_in(table["formula"], held_out.combine_chunks())))
    pq.write_table(other, data / OTHER)
    print(f"{OTHER}: {len(other):,} of {len(table):,} rows")


def main() -> None:
    """Run what is named, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*RECORDS, []], help=", ".join(RECORDS))
    parser.add_argument("--list", action="store_true", help="print the command of each")
    parser.add_argument("--other", action="store_true", help=f"write {OTHER}")
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--store", type=Path, default=Path("store"))
    parser.add_argument("--write", type=Path, help="a file that the rows are appended to")
    options = parser.parse_args()
    if options.list:
        for name, record in RECORDS.items():
            print(f"{name:18} cgcnn {shlex.join(record.line(options.data, options.store))}")
    if options.other:
        write_other(options.data)
    for name in options.names:
        began = time.monotonic()
        _, found = result_of(RECORDS[name], options.data, options.store)
        minutes = f"{(time.monotonic() - began) / 60:.0f} min"
        day = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
        row = f"| {' | '.join([day, name, RECORDS[name].protocol, found, minutes])} |"
        print(row)
        if options.write:
            with options.write.open("a", encoding="utf-8") as file:
                file.write(f"{row}\n")


if __name__ == "__main__":
    main()
