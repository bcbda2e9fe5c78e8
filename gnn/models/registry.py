"""Builds the model that a configuration names: one of MODELS or PUBLISHED, or a class of another package."""

import importlib

from torch import Tensor, nn

from gnn.batches import Batch
from gnn.config import MODELS, PUBLISHED, ModelConfig
from gnn.layers import GaussianBasis
from gnn.model_card import check_trust
from storage.errors import InputError


class ExternalModel(nn.Module):
    """A model of PyTorch Geometric's kind, called with (z, edge_index, edge_attr, batch), which returns (B,) or (B, 1).

    `z` (N,) atomic numbers, `edge_index` (2, E) source and target, `edge_attr` (E, K) the Gaussian expansion of the
    distances, `batch` (N,) the crystal of each atom.
    """

    def __init__(self, config: ModelConfig, model: nn.Module) -> None:
        super().__init__()
        self.basis = GaussianBasis(0.0, config.gaussian_stop, config.gaussian_step, config.gaussian_sigma)
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        """(B,) standardised targets; logits for a classification. Raises InputError for symmetry-reduced graphs."""
        if (batch.multiplicity > 1).any():  # 0 is that of a batch that counts for nothing
            raise InputError(
                "graphs.reduce_symmetry: an external model does not weigh atoms by multiplicity; set it to false"
            )
        value: Tensor = self.model(batch.z, batch.edge_index, self.basis(batch.edge_distance), batch.batch)
        return value.reshape(len(batch))


def build_model(config: ModelConfig, *, trust_code: bool = False) -> nn.Module:
    """The model named in `config`, with fresh weights.

    A model outside this package, `package.module:Class`, is imported and called only if `trust_code` is true: importing
    a module runs it. The class has to be a torch.nn.Module that can be built without arguments. Raises InputError where
    the code is not trusted, or the name is of nothing that can be built.
    """
    check_trust(config, trust_code=trust_code)
    ours = MODELS | PUBLISHED
    module, _, name = ours.get(config.name, config.name).partition(":")
    if config.name in ours:
        built: nn.Module = getattr(importlib.import_module(module), name)(config)
        return built
    try:
        found = getattr(importlib.import_module(module), name)
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise TypeError("is not a subclass of torch.nn.Module")
        model = found()
    except (ImportError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        known = ", ".join(MODELS)
        raise InputError(
            f"model.name {config.name}: {error}; allowed are {known} and package.module:Class of an installed package"
        ) from None
    return ExternalModel(config, model)
