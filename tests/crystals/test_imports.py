"""What a step loads before it has seen its input. scipy comes with the parsers of CIF, POSCAR and ASE's formats."""

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["sources.batches", "validate", "graphs", "predict_inputs"])
def test_a_step_loads_the_parsers_when_a_file_needs_them(module):
    code = f"import json, sys, crystals.{module}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert "pyarrow" in loaded
    assert not {"scipy", "ase.io", "pandas", "mp_api", "emmet"} & set(loaded)
