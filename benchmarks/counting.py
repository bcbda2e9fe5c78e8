"""Counts what torch's operations move and multiply, from the shapes of their tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PICKS = {"index", "index_select", "gather", "embedding"}  # read as much of a tensor as they give back
PRODUCTS = {"mm", "addmm", "mv", "addmv"}
WRITES_NOTHING = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


@dataclass
class Counts:
    """Bytes that operations read and write, FLOPs of their matrix products, and how many operations they are."""

    bytes: int = 0
    flops: int = 0
    operations: int = 0


class _Traffic(TorchDispatchMode):
    """Every operation reads each of its inputs once and writes each of its outputs once; views cost nothing."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in WRITES_NOTHING or _is_view(func):
            return result
        written = [size_of(tensor) for tensor in _tensors(result)]
        inputs = _tensors((args, {key: value for key, value in kwargs.items() if key != "out"}))
        if name in PRODUCTS:
            self._counts.flops += _flops(*inputs[-2:])
        read = {tensor.data_ptr() if tensor.layout == torch.strided else id(tensor): tensor for tensor in inputs}
        sizes = map(size_of, read.values())
        if name in PICKS:
            sizes = (min(size, max(written, default=0)) for size in sizes)
        self._counts.bytes += sum(written) + sum(sizes)
        self._counts.operations += 1
        return result


def count(work: Callable[[], object]) -> Counts:
    """What all operations of `work` take, its backward pass included."""
    counts = Counts()
    with _Traffic(counts):
        work()
    return counts


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor's memory; of a sparse one, of its values and both index arrays."""
    if tensor.layout == torch.sparse_csr:
        return sum(part.nbytes for part in (tensor.values(), tensor.crow_indices(), tensor.col_indices()))
    return min(tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes())


def _flops(one: Tensor, other: Tensor) -> int:
    """Two for each pair of numbers that a matrix product multiplies; torch counts a sparse matrix as a full one."""
    pairs = one.values().numel() if one.layout == torch.sparse_csr else one.numel()
    return 2 * pairs * (other.shape[1] if other.dim() > 1 else 1)


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _is_view(func: Any) -> bool:
    """Whether an operation only gives back a tensor of its inputs in another shape."""
    aliases = [returned.alias_info for returned in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)
