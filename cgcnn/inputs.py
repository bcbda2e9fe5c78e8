"""The structures that a call is given: one or many, and what becomes of those that have no graph."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from storage.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import IStructure

log = logging.getLogger("cgcnn")

Structure: TypeAlias = "IStructure | Atoms"
OnError = Literal["raise", "nan"]


class Inputs:
    """The structures of one call, and the reasons why some are refused, by position."""

    def __init__(self, structures: Structure | Iterable[Structure], errors: OnError = "raise") -> None:
        from crystals.structures import is_one

        if errors not in {"raise", "nan"}:
            raise InputError(f"errors {errors!r}: allowed are 'raise' and 'nan'")
        self.single = is_one(structures)
        if not self.single and (not isinstance(structures, Iterable) or isinstance(structures, str | bytes | PathLike)):
            kind = type(structures).__name__
            raise InputError(f"structures: expected pymatgen Structures or ASE Atoms, got {kind}; files: predict_table")
        self.structures: Iterable[Any] = [structures] if self.single else structures
        self.refused: dict[int, str] = {}
        self._raises = errors == "raise"

    def refuse(self, position: int, reason: str) -> None:
        """Raise InputError, or remember the reason."""
        where = "structure" if self.single else f"structure {position}"
        if self._raises:
            raise InputError(f"{where}: {reason}")
        log.info("%s refused: %s", where, reason)
        self.refused[position] = reason

    def log_refused(self, count: int) -> None:
        """One line for all that were refused, with the first reason."""
        if self.refused:
            position, reason = next(iter(self.refused.items()))
            log.warning(
                "%s of %s structures refused; structure %d: %s",
                f"{len(self.refused):,}",
                f"{count:,}",
                position,
                reason,
            )
