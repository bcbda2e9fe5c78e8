"""The notebooks of the documentation run from their first cell to their last, in a kernel as Jupyter starts it."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "docs/notebooks"


def executed(name, folder, environment):
    """The texts that the notebook's cells print or show; an error in a cell raises."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_they_are_stored_without_outputs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert not any(cell.outputs or cell.execution_count for cell in cells)


def test_own_data_becomes_a_model_and_the_model_screens_ten_thousand_candidates(tmp_path, server):
    """Both in one folder: the second uses the model of the first. The flow runs within Jupyter's event loop."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": server,
        "OMP_NUM_THREADS": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    trained = executed("own_data_to_a_model.ipynb", tmp_path, environment)
    assert "<run own_alloys-formation_energy_ev_per_atom-" in trained
    screened = executed("screening.ipynb", tmp_path, environment)
    assert "10080" in screened
    assert "rank correlation 0." in screened
