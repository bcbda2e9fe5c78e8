"""A trained model: numbers and features of structures in memory."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

from cgcnn.inputs import Inputs, OnError, Structure, log
from cgcnn.wording import arguments_not_options

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from torch_geometric.data import Data

    from crystals.config import GraphConfig

Value = TypeVar("Value")


class Interval(NamedTuple, Generic[Value]):
    """Predicted values, the standard deviations of their errors, the ends of their intervals; in the target's unit."""

    predicted: Value
    uncertainty: Value
    low: Value
    high: Value


class Model:
    """A trained model, loaded once. Made by `cgcnn.load`.

    The numbers are those of `cgcnn predict`: the same checks, graphs, batches and arithmetic, on the device asked for.
    """

    def __init__(self, folder: Path, device: str = "auto", *, trust_code: bool = False) -> None:
        from crystals.config import GraphConfig
        from gnn.inference import Predictor

        self.folder = folder.absolute()
        self._trust_code = trust_code
        self._predictor = Predictor(self.folder, device, trust_code=trust_code)
        card = self._predictor.card
        self.name: str = "+".join(dict.fromkeys(config.name for config in card.models))
        self.target: str = card.target
        self.unit: str = card.unit
        self.members: int = card.members
        self.coverage: float | None = card.calibration.coverage if card.calibration else None
        self.elements: list[str] = self._predictor.elements
        self.graph_config: GraphConfig = GraphConfig.model_validate(card.graph_config)

    def __repr__(self) -> str:
        unit = f" ({self.unit})" if self.unit else ""
        kind = "model" if self.members == 1 else f"ensemble of {self.members}"
        return f"<{self.name} {kind} of {self.target}{unit}, {len(self.elements)} elements>"

    @overload
    def predict(self, structures: Structure, errors: OnError = "raise") -> float: ...

    @overload
    def predict(self, structures: Iterable[Structure], errors: OnError = "raise") -> NDArray[np.float64]: ...

    def predict(
        self, structures: Structure | Iterable[Structure], errors: OnError = "raise"
    ) -> float | NDArray[np.float64]:
        """The target of each structure, in `unit`; of a classification, the probability of the positive class.

        `structures` is a pymatgen Structure or an ASE Atoms object, which gives a float, or any iterable of them, which
        gives an array (B,) in its order. An iterator may be longer than memory: it is read 1024 structures at a time.

        A structure that cannot be predicted (disordered, not periodic, overlapping atoms, an atom without neighbours)
        raises InputError with its position, counted from 0. With `errors="nan"` it is NaN in the result, and the
        logger `cgcnn` says why. Elements that the model was not trained on are a warning.
        """
        inputs = Inputs(structures, errors)
        found = self._each(inputs, self._predictor.predict)
        return float(found[0]) if inputs.single else found

    @overload
    def predict_intervals(self, structures: Structure, errors: OnError = "raise") -> Interval[float]: ...

    @overload
    def predict_intervals(
        self, structures: Iterable[Structure], errors: OnError = "raise"
    ) -> Interval[NDArray[np.float64]]: ...

    def predict_intervals(
        self, structures: Structure | Iterable[Structure], errors: OnError = "raise"
    ) -> Interval[float] | Interval[NDArray[np.float64]]:
        """Predictions with their uncertainty: what `cgcnn predict` writes of a calibrated model. All in `unit`.

        Floats for one structure, arrays (B,) for an iterable; `structures` and `errors` are as in `predict`. Of
        structures drawn like those it was calibrated on, a share `coverage` has its value between `low` and `high`.
        Raises InputError for a model without an uncertainty: a classification, and a single model whose head is not
        mean-variance.
        """
        inputs = Inputs(structures, errors)
        self._predictor.check_calibrated()
        found = self._each(inputs, self._predictor.predict_intervals, (4,), "float64")
        return Interval(*found[0].tolist()) if inputs.single else Interval(*found.T)

    def embed(self, structures: Structure | Iterable[Structure], errors: OnError = "raise") -> NDArray[np.float32]:
        """Crystal features (B, F): the vector that the last layer turns into the prediction; (F,) for one structure.

        Per crystal v_c = Σ_i v_i / N, the mean over the N atoms after the last convolution (Xie & Grossman, PRL 120,
        145301 (2018), the pooling of its Eq. 3; with `model.pooling` max the largest of each feature), and then the
        `n_h` hidden layers h: x = h(v_c). The prediction is w · x + b, rescaled to the target; so F is
        `model.h_fea_len`, or `model.atom_fea_len` without hidden layers.
        `cogn` pools and reads out in the same way (Ruff et al., Digital Discovery 3, 594 (2024)).

        `structures` and `errors` are as in `predict`; a row of NaN where that has one. Raises InputError for an
        ensemble, and for a model that is neither cgcnn nor cogn: nothing says which of its numbers are features.
        """
        inputs = Inputs(structures, errors)
        found = self._each(inputs, self._predictor.embed, (self._predictor.features,), "float32")
        return found[0] if inputs.single else found

    def graphs(self, structures: Structure | Iterable[Structure]) -> list[Data]:
        """`cgcnn.graphs` with the neighbours that this model was trained with; every atom, whatever symmetry says."""
        from cgcnn.pyg import graphs

        joined = self.graph_config
        return graphs(structures, joined.cutoff, joined.max_neighbors, joined.shell_tolerance)

    def predict_table(self, *paths: str | PathLike[str]) -> pd.DataFrame:
        """What `cgcnn predict` writes of these tables, CIF and POSCAR files, or folders of them: one row a structure.

        Columns: `id`, `formula`, `predicted` (NaN where refused), `error` (why), `warning` (how it differs from
        the training structures); of a calibrated model also `uncertainty`, `low` and `high`. Runs the command's own two
        programs.
        """
        import pandas as pd

        from tasks.prediction import PredictRequest, predict

        with tempfile.TemporaryDirectory(prefix="cgcnn-") as folder, arguments_not_options():
            request = PredictRequest(
                files=[fspath(path) for path in paths],
                model=str(self.folder),
                store=folder,
                output=Path(folder) / "predictions.parquet",
                trust_code=self._trust_code,
            )
            predict(request, log.info)
            return pd.read_parquet(request.output)

    def _each(
        self,
        inputs: Inputs,
        compute: Callable[[pa.Table], NDArray[np.floating]],
        shape: tuple[int, ...] = (),
        dtype: str = "float64",
    ) -> NDArray[Any]:
        """`compute` of the graphs of all inputs, in their order (B, *shape); NaN for those that have no graph."""
        import numpy as np

        from crystals.structures import graph_tables

        kept: list[NDArray[np.int64]] = []
        parts: list[NDArray[np.floating]] = []
        numbers: set[int] = set()
        for table in graph_tables(inputs.structures, self.graph_config, inputs.refuse):
            kept.append(table["position"].to_numpy())
            parts.append(compute(table))
            numbers.update(np.unique(table["atomic_numbers"].combine_chunks().flatten()).tolist())
        count = sum(map(len, kept)) + len(inputs.refused)
        inputs.log_refused(count)
        unseen = self._predictor.unseen(numbers)
        if unseen:
            warnings.warn(
                f"the model has not seen the elements {', '.join(unseen)}: expect large errors where they occur",
                stacklevel=3,
            )
        found = np.full((count, *shape), np.nan, dtype)
        if parts:
            found[np.concatenate(kept)] = np.concatenate(parts)
        return found


def load(
    model: str | PathLike[str] = "champion",
    store: str | PathLike[str] = "store",
    device: str = "auto",
    *,
    trust_code: bool = False,
) -> Model:
    """The model of that name in the store, ready to predict.

    `model` is "champion" (where the store has one), a champion's name, a run or a part of its name, "latest", a model's
    folder, or a `.pth.tar` file of CGCNN's released code with its atom_init.json beside it. `store` is the folder or
    URL of the runs. `device` is auto, cpu, cuda or cuda:N. `trust_code` lets a model that is neither cgcnn nor cogn
    import the code that it names.
    Raises InputError where nothing, or more than one thing, has that name.
    """
    from storage.registry import model_folder
    from storage.store import Store

    with arguments_not_options():
        return Model(model_folder(fspath(model), Store.at(fspath(store))), device, trust_code=trust_code)
