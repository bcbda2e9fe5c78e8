"""The Python interface on two trained models: the numbers of the command, for objects instead of files."""

import json
import logging
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from torch_geometric.data import Batch

import cgcnn
from gnn.checkpoint import ModelCard, load_model, save_model
from gnn.config import ModelConfig

SYMBOLS = ["Li", "Na", "Mg", "Al", "K", "Ca", "Cu", "Ag"]


def cells(count: int, seed: int) -> list[Structure]:
    """Two to five atoms on the sites of a perovskite, displaced, in strained cells that are not orthogonal."""
    chance = np.random.default_rng(seed)
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    made = []
    for _ in range(count):
        atoms = int(chance.integers(2, 6))
        lattice = Lattice.from_parameters(*chance.uniform(3.8, 4.6, 3), *chance.uniform(80, 100, 3))
        coords = sites[:atoms] + chance.uniform(-0.03, 0.03, (atoms, 3))
        made.append(Structure(lattice, chance.choice(SYMBOLS, atoms).tolist(), coords))
    return made


def overlapping() -> Structure:
    return Structure(Lattice.cubic(4), ["Na", "Cu"], [[0, 0, 0], [0, 0, 0.01]])


def lonely() -> Atoms:
    return bulk("Na", "fcc", a=8.8)  # 170 Å³ an atom; nearest neighbours at 6.2 Å


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    """300 of them, more than a batch, and one in the middle that is refused."""
    made = cells(300, seed=1)
    made[100] = overlapping()
    return made


def predicted_by_command(model, rows, folder):
    """What `cgcnn predict` writes of a table of these rows."""
    table, output = folder / "structures.jsonl", folder / "predicted.parquet"
    table.write_text("\n".join(json.dumps(row) for row in rows))
    command = [sys.executable, "-m", "flows.cli", "predict", table, "--model", model.folder, "--output", output]
    subprocess.run([str(c) for c in command], check=True, capture_output=True)
    return pd.read_parquet(output)


def test_importing_it_imports_nothing_heavy():
    heavy = ("torch", "prefect", "pymatgen", "ase", "pandas", "numpy", "pyarrow", "pydantic")
    code = f"import sys, cgcnn; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_page_s_examples_print_what_it_says(folder):
    printed = (folder / "printed").read_text()
    assert "<run crystals-energy_ev-" in printed
    assert "structure 1: two atoms are 0.04 Å apart; allowed is 0.5 (fixed in predictions)" in printed
    assert "energy_ev eV ['Li', 'Na'" in printed


def test_predictions_are_the_command_s_to_the_last_digit(model, structures, tmp_path):
    """For pymatgen's and ASE's objects, of which a generator makes one after the other, two of them refused."""
    atoms = [AseAtomsAdaptor.get_atoms(structure) for structure in structures]
    rows = [{"structure": structure.as_dict()} for structure in structures]
    rows += [
        {
            "lattice": each.cell.tolist(),
            "atomic_numbers": each.numbers.tolist(),
            "frac_coords": each.get_scaled_positions(wrap=False).tolist(),
        }
        for each in atoms
    ]
    wanted = predicted_by_command(model, rows, tmp_path)["predicted"].to_numpy(dtype=np.float64)
    found = model.predict((each for each in [*structures, *atoms]), errors="nan")
    assert found.dtype == np.float64
    assert np.flatnonzero(np.isnan(found)).tolist() == [100, 400]
    assert np.ptp(found[:100]) > 0
    np.testing.assert_array_equal(found.astype(np.float32), wanted.astype(np.float32))


def test_a_table_gives_the_command_s_table(store, structures, tmp_path):
    model = cgcnn.load("latest", store)
    by_command = predicted_by_command(model, [{"structure": each.as_dict()} for each in structures[95:105]], tmp_path)
    pd.testing.assert_frame_equal(model.predict_table(tmp_path / "structures.jsonl"), by_command)
    assert by_command["error"].notna().tolist() == [n == 5 for n in range(10)]
    with pytest.raises(cgcnn.InputError, match=r"nowhere\.cif: no such file"):
        model.predict_table("nowhere.cif")


def test_one_structure_is_a_float_and_none_an_empty_array(model, structures):
    alone = model.predict(structures[0])
    assert isinstance(alone, float)
    assert alone == pytest.approx(model.predict(structures[:3])[0], rel=1e-5)
    assert model.predict([]).shape == (0,)
    assert model.embed([]).shape == (0, len(model.embed(structures[0])))


def test_a_thousand_structures_take_seconds_of_one_core(model):
    """2 s are far more than it takes (0.3 to 0.6 s), and far less than a space group each would."""
    many = cells(1000, seed=2)
    model.predict(many[:2])
    began = time.process_time()
    assert np.isfinite(model.predict(many)).all()
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (overlapping(), "structure 1: two atoms are 0.04 Å apart"),
        (fcc111("Cu", (1, 1, 3), vacuum=5), "structure 1: is not periodic in three directions (pbc T T F)"),
        (Structure(Lattice.cubic(3), [{"Cu": 0.5, "Ag": 0.5}], [[0, 0, 0]]), "structure 1: site 0 is occupied by"),
        (Atoms("X", cell=[3, 3, 3], pbc=True), "structure 1: 0 is no atomic number"),
        (
            Atoms("Cu", cell=[3, 3, 0], pbc=True),
            "structure 1: is not periodic in three directions (pbc T T T, no cell)",
        ),
        (Atoms(cell=[3, 3, 3], pbc=True), "structure 1: has no atoms"),
        ("POSCAR", "structure 1: is a str; expected a pymatgen Structure or an ASE Atoms"),
    ],
    ids=["overlapping", "slab", "disordered", "dummy", "flat", "empty", "text"],
)
def test_what_cannot_be_predicted_is_an_error_with_its_position(store, structures, refused, message):
    model = cgcnn.load("latest", store)
    with pytest.raises(cgcnn.InputError) as fault:
        model.predict([structures[0], refused])
    assert str(fault.value).startswith(message)
    assert np.isnan(model.predict([refused, structures[0]], errors="nan")).tolist() == [True, False]


def test_an_isolated_atom_and_a_site_that_elements_share_in_ase(store):
    far = cgcnn.load("latest", store)
    far.graph_config = far.graph_config.model_copy(update={"cutoff": 5.0, "max_neighbors": 12})
    with pytest.raises(cgcnn.InputError, match=r"^structure: 1 of 1 atoms have no neighbour within 5\.0 Å"):
        far.predict(lonely())
    shared = bulk("Cu")
    shared.info["occupancy"] = {"0": {"Cu": 0.6, "Ag": 0.4}}
    with pytest.raises(cgcnn.InputError, match=r"occupied by Cu:0\.6, Ag:0\.4"):
        far.predict(shared)


def test_the_reasons_are_logged(model, structures, caplog):
    with caplog.at_level(logging.INFO, logger="cgcnn"):
        model.predict(structures, errors="nan")
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert caplog.messages[1].startswith("1 of 300 structures refused; structure 100: two atoms")


@pytest.mark.parametrize("wrong", ["POSCAR", 5, None])
def test_what_is_no_structure_at_all(model, wrong):
    with pytest.raises(cgcnn.InputError, match="expected pymatgen Structures or ASE Atoms, got"):
        model.predict(wrong)
    with pytest.raises(cgcnn.InputError, match="errors 'ignore': allowed are 'raise' and 'nan'"):
        model.predict([], errors="ignore")


def test_elements_that_were_not_trained_on_are_a_warning(model):
    with pytest.warns(UserWarning, match="has not seen the elements Fe, Au") as warned:
        model.predict([bulk("Au"), bulk("Fe"), bulk("Cu")])
    assert warned[0].filename == __file__


def test_features_are_what_the_last_layer_turns_into_the_prediction(model, structures):
    features = model.embed(structures[:50])
    network, card = load_model(model.folder, torch.device("cpu"))
    with torch.no_grad():
        readout = network.out(torch.from_numpy(features)).double()
    np.testing.assert_allclose(card.head.value(readout), model.predict(structures[:50]), rtol=1e-6)
    assert features.dtype == np.float32
    rows = model.embed([structures[0], overlapping()], errors="nan")
    assert np.isnan(rows).all(axis=1).tolist() == [False, True]
    np.testing.assert_allclose(model.embed(structures[0]), rows[0], rtol=1e-5, atol=1e-6)


def test_a_supercell_has_the_features_of_its_cell(model, structures):
    cell, supercell = model.embed([structures[0], structures[0] * (2, 1, 1)])
    np.testing.assert_allclose(supercell, cell, rtol=1e-3, atol=1e-4)


def test_an_external_model_has_no_features(tmp_path):
    card = ModelCard(
        model=ModelConfig(name="torch.nn:Identity"),
        graph_config={},
        target="t",
        unit="",
        task="regression",
        threshold=0.0,
        mean=0.0,
        deviation=1.0,
        elements=[29],
    )
    save_model({"basis.centres": torch.linspace(0, 8, 41)}, card, tmp_path)
    with pytest.raises(cgcnn.InputError, match=r"torch\.nn:Identity: only cgcnn and cogn have crystal features"):
        cgcnn.load(tmp_path, trust_code=True).embed(bulk("Cu"))


def test_it_leaves_the_process_as_it_was(model, structures):
    """Denormal numbers count as zero in the network alone, not in what a user computes afterwards."""
    model.predict(structures[0])
    assert torch.tensor(1e-42) * 1 != 0
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_a_model_knows_of_itself(model):
    assert (model.target, model.unit, model.elements) == ("energy_ev", "eV", SYMBOLS)
    assert model.graph_config.max_neighbors == {"cgcnn": 12, "cogn": 24}[model.name]
    assert repr(model) == f"<{model.name} model of energy_ev (eV), 8 elements>"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody",), "model nobody: is no run of"),
        (("champion", "nowhere"), "model: the store "),
        (("energy",), "model energy: fits 2 runs of"),
    ],
)
def test_a_model_that_is_not_there_is_said_in_one_line(store, arguments, message):
    with pytest.raises(cgcnn.InputError) as fault:
        cgcnn.load(*arguments, **({} if len(arguments) > 1 else {"store": store}))
    assert str(fault.value).startswith(message)
    assert "\n" not in str(fault.value)


def test_graphs_of_a_model_have_its_neighbours(model, structures):
    (graph,) = model.graphs(structures[0])
    degree = torch.bincount(graph.edge_index[1])
    assert (degree >= model.graph_config.max_neighbors).all()
    assert len(graph.z) == len(structures[0])


def test_graphs_are_pyg_data_whose_vectors_have_their_lengths(structures):
    data = cgcnn.graphs([structures[0], AseAtomsAdaptor.get_atoms(structures[1])], cutoff=6.0, max_neighbors=8)
    batch = Batch.from_data_list(data)
    assert batch.z.tolist() == [n for s in structures[:2] for n in s.atomic_numbers]
    assert batch.cell.shape == (2, 3, 3)
    source, target = batch.edge_index
    steps = torch.einsum("ei,eij->ej", batch.edge_image.float(), batch.cell[batch.batch[target]])
    vector = batch.pos[source] + steps - batch.pos[target]
    torch.testing.assert_close(vector.norm(dim=1, keepdim=True), batch.edge_attr, rtol=1e-4, atol=1e-4)
    assert (torch.bincount(target) >= 8).all()
    assert batch.validate()


def test_graphs_find_the_neighbours_that_pymatgen_finds(structures):
    (data,) = cgcnn.graphs(structures[0], cutoff=5.0, max_neighbors=None)
    theirs = [sorted(n.nn_distance for n in sites) for sites in structures[0].get_all_neighbors(5.0)]
    ours = [data.edge_attr[data.edge_index[1] == atom, 0].tolist() for atom in range(len(theirs))]
    assert ours == [pytest.approx(distances, rel=1e-5) for distances in theirs]


def test_wrong_graphs_are_said_in_one_line(structures):
    with pytest.raises(cgcnn.InputError, match=r"^graphs\.cutoff: Input should be greater than 0, got -1$"):
        cgcnn.graphs(structures, cutoff=-1)
    with pytest.raises(cgcnn.InputError, match=r"^structure 100: two atoms"):
        cgcnn.graphs(structures)


def test_runs_are_newest_first_with_their_tables(store):
    runs = cgcnn.runs(store)
    table = runs.to_frame()
    assert [run.name for run in runs] == table["run"].tolist()
    assert table["finished"].is_monotonic_decreasing
    assert [run.model().name for run in runs] == ["cogn", "cgcnn"]
    run = runs[runs[1].name[-8:]]
    assert [len(one.history()) for one in runs] == [3, 20]
    predictions, metrics = run.predictions(), run.metrics()
    test = predictions[predictions["split"] == "test"]
    assert metrics.loc["test", "mae"] == pytest.approx((test["predicted"] - test["target"]).abs().mean())
    assert metrics.loc["test", "mae"] == run.card["test"]
    assert list(metrics.index) == ["train", "validation", "test"]
    assert run.report.endswith("report.html")
    assert run.name in runs._repr_html_()
    assert run.name in repr(runs)


def test_runs_that_are_not_there(store, tmp_path):
    assert len(cgcnn.runs(tmp_path)) == 0
    assert cgcnn.runs(tmp_path).to_frame().empty
    with pytest.raises(cgcnn.InputError, match=r"^store \S+nowhere: no such folder"):
        cgcnn.runs(tmp_path / "nowhere")
    with pytest.raises(cgcnn.InputError, match="run energy: fits 2 runs; there is crystals-energy_ev"):
        cgcnn.runs(store)["energy"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"train": {"epoch": 5}}, "train.epoch: no such key; did you mean train.epochs?"),
        ({"train.epochs": 0}, "train.epochs: Input should be greater than or equal to 1, got 0"),
        ({"trains": 1}, "trains: no such key; did you mean train"),
        ({"config": "chapters"}, "config chapters: no such file, and no preset of that name"),
        ({"source": "nowhere.csv"}, "source nowhere.csv: no such file or folder"),
    ],
)
def test_wrong_keys_are_said_in_one_line_before_prefect_starts(keys, message, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(cgcnn.InputError) as fault:
        cgcnn.retrain(**keys)
    assert str(fault.value).startswith(message)
