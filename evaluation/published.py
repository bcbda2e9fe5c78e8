"""Published errors by data set and target, each with its source and how it was measured.

A data set is recognised by the stem of its file name. The errors give context to those of a run and are no ranking:
`protocol` says how their measurement differs.
"""

from pathlib import PurePath
from typing import NamedTuple

from evaluation.formatting import factor_between


class Published(NamedTuple):
    """A published mean absolute error in `unit`. `low` and `high` differ if a range was published."""

    method: str
    low: float
    high: float
    unit: str
    source: str
    protocol: str

    def as_record(self, unit: str) -> dict[str, str | float]:
        """The entry of metrics.json, with errors in `unit`."""
        factor = factor_between(self.unit, unit)
        return {
            "method": self.method,
            "mae": self.low * factor,
            "mae_high": self.high * factor,
            "source": self.source,
            "protocol": self.protocol,
        }


def published(source: str, target: str, unit: str) -> list[dict[str, str | float]]:
    """Published errors for a data set and target, in `unit`, the smallest first; [] if none are known.

    `source` is a name or path, of which only the stem counts: mp2018.parquet, mp2018.json.gz and mp2018 are the same.
    Raises ValueError if `unit` and the published unit differ by more than the prefix milli.
    """
    stem = PurePath(source).name.split(".")[0]
    return [figure.as_record(unit) for figure in FIGURES.get((stem, target), [])]


def published_over_folds(source: str, target: str, unit: str, *, same_folds: bool) -> list[dict[str, str | float]]:
    """Published means over Matbench's five folds, as `published` returns them; [] if none are known.

    `same_folds` says that the folds are Matbench's own; of five other folds, only figures count whose protocol says
    that nobody has the same.
    """
    protocol = MATBENCH if same_folds else PEROVSKITES
    return [figure for figure in published(source, target, unit) if figure["protocol"] == protocol]


def _list_published(unit: str, protocol: str, rows: list[tuple[str, float, str]]) -> list[Published]:
    return [Published(method, value, value, unit, source, protocol) for method, value, source in rows]


SUTTON = "Sutton et al., npj Comput. Mater. 5, 111 (2019), table 1"
NOMAD = "The competition's 2,400 training and 600 test structures; lowest and highest of the three winners."

MATBENCH_SOURCE = "Matbench v0.1; Dunn et al., npj Comput. Mater. 6, 138 (2020)"
MATBENCH = "Mean of Matbench's five folds; a run here tests on one split."
PEROVSKITES = f"{MATBENCH} Matbench's folds are not those of this file."

MP2018 = (
    "Measured on all 4,239 published test rows; those models were trained on 60,000 rows "
    "with other structures, those of the 2018 release."
)
XIE = "Xie & Grossman, PRL 120, 145301 (2018)"
XIE_DATA = "Often quoted for this data, but measured by its authors on data of their own from an earlier release."
CGCNN_AGAIN = "as listed by Yan et al., NeurIPS 2022 (Matformer)"
MEGNET = "Chen et al., Chem. Mater. 31, 3564 (2019)"
ALIGNN = "Choudhary & DeCost, npj Comput. Mater. 7, 185 (2021)"
COMFORMER = "Yan et al., ICLR 2024 (ComFormer)"
CARTNET = "Solé et al., Digital Discovery (2025), CartNet"


def _matbench(unit: str, protocol: str, rows: list[tuple[str, float]]) -> list[Published]:
    return _list_published(unit, protocol, [(method, value, MATBENCH_SOURCE) for method, value in rows])


FIGURES = {
    ("nomad2018", "formation_energy_ev_natom"): [
        Published("Competition winners", 13, 15, "meV/cation", SUTTON, NOMAD),
    ],
    ("nomad2018", "band_gap_ev"): [
        Published("Competition winners", 93, 114, "meV", SUTTON, NOMAD),
    ],
    ("matbench_phonons", "last_phdos_peak_per_cm"): _matbench(
        "cm⁻¹",
        MATBENCH,
        [("MegNet", 28.8), ("coNGN", 28.9), ("ALIGNN", 29.5), ("coGN", 29.7), ("CGCNN", 57.8)],
    ),
    ("matbench_jdft2d", "exfoliation_energy_mev_per_atom"): _matbench(
        "meV/atom", MATBENCH, [("MODNet", 33.2), ("coNGN", 36.2), ("ALIGNN", 43.4), ("CGCNN", 49.2)]
    ),
    ("perov5", "heat_all_ev"): _matbench("eV", PEROVSKITES, [("coGN", 0.0269), ("ALIGNN", 0.0288), ("CGCNN", 0.0452)]),
    ("mp2018", "formation_energy_per_atom_ev"): [
        *_list_published(
            "meV/atom",
            MP2018,
            [
                ("CartNet", 17.5, CARTNET),
                ("iComFormer", 18.3, COMFORMER),
                ("ALIGNN", 22, ALIGNN),
                ("MEGNet", 28, MEGNET),
                ("CGCNN, retrained", 31, CGCNN_AGAIN),
            ],
        ),
        Published("CGCNN, original", 39, 39, "meV/atom", XIE, XIE_DATA),
    ],
    ("mp2018", "band_gap_ev"): [
        *_list_published(
            "eV",
            MP2018,
            [
                ("CartNet", 0.191, CARTNET),
                ("iComFormer", 0.193, COMFORMER),
                ("ALIGNN", 0.218, ALIGNN),
                ("CGCNN, retrained", 0.292, CGCNN_AGAIN),
                ("MEGNet", 0.33, MEGNET),
            ],
        ),
        Published("CGCNN, original", 0.388, 0.388, "eV", XIE, f"{XIE_DATA} Non-metals only."),
    ],
}
