"""Trained models, their runs and crystal graphs, from Python.

    import cgcnn

    champion = cgcnn.load("champion", store="store")
    champion.predict(structures)  # pymatgen Structures or ASE Atoms → a numpy array

Importing this module takes no time: torch, Prefect, pymatgen and pandas are imported by what needs them.
"""

from cgcnn.model import Interval, Model, load
from cgcnn.pyg import graphs
from cgcnn.run import Run, Runs, runs
from cgcnn.training import retrain
from storage.errors import InputError, WorldError

__all__ = ["InputError", "Interval", "Model", "Run", "Runs", "WorldError", "graphs", "load", "retrain", "runs"]
