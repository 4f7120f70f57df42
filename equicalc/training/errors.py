"""Errors of predictions: by quantity, by kind of structure and by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: Factor and unit of the reported errors, by quantity.
REPORTED = {
    "energy": (1000.0, "meV"),
    "energy_per_atom": (1000.0, "meV/atom"),
    "forces": (1000.0, "meV/Angstrom"),
    "stress": (1000.0, "meV/Angstrom^3"),
    "dipole": (1000.0, "me Angstrom"),
    "charges": (1000.0, "me"),
}


def mae_rmse(residual: np.ndarray, factor: float = 1.0) -> dict[str, float]:
    """Return mean absolute and root mean square error of components.

    Parameters
    ----------
    residual : (...)
        Prediction minus label.
    factor
        Change of unit.

    Examples
    --------
    >>> mae_rmse(np.array([3.0, -4.0, 0.0, 0.0]))
    {'mae': 1.75, 'rmse': 2.5}
    """
    residual = np.asarray(residual, dtype=np.float64) * factor
    return {
        "mae": float(np.abs(residual).mean()),
        "rmse": float(np.sqrt(np.square(residual).mean())),
    }


class Predictions:
    """Predictions and labels of many structures, gathered batch by batch.

    Attributes
    ----------
    predicted, labels
        Arrays by quantity, batches concatenated.
    """

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = {}

    def add(self, predicted: dict[str, Any], batch: Any) -> None:
        """Add a batch: the output of `evaluate` and the labelled graph."""
        arrays = {"z": batch.z, "n_atoms": batch.ptr.diff()}
        for name, value in predicted.items():
            arrays[f"predicted_{name}"] = value
            arrays[f"label_{name}"] = batch[name]
        for name, value in arrays.items():
            self._parts.setdefault(name, []).append(value.detach().cpu().numpy())

    def __getitem__(self, name: str) -> np.ndarray:
        return np.concatenate(self._parts[name])

    def quantities(self) -> list[str]:
        """Return the names of what was predicted."""
        prefix = "predicted_"
        return [n.removeprefix(prefix) for n in self._parts if n.startswith(prefix)]

    def residual(self, quantity: str) -> np.ndarray:
        """Return prediction minus label, float64; one row per structure or atom."""
        if quantity == "energy_per_atom":
            return self.residual("energy") / self["n_atoms"]
        label = self[f"label_{quantity}"].astype(np.float64)
        return self[f"predicted_{quantity}"] - label

    def table(
        self, kinds: np.ndarray | None = None, kind_names: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return the errors in the units of `REPORTED`.

        Parameters
        ----------
        kinds : (n_structures,)
            Kind of every structure, an index into `kind_names`.
        kind_names
            What the kinds are called.

        Returns
        -------
        dict
            `n_structures`, `units`; by quantity `{"mae", "rmse"}`; under `kinds` the
            same by kind of structure; under `elements` errors of atomic quantities.
        """
        n_atoms = self["n_atoms"]
        table = self._errors(np.ones(len(n_atoms), dtype=bool))
        table["units"] = {q: REPORTED[q][1] for q in table if q in REPORTED}
        table["elements"] = self._by_element()
        if kinds is not None:
            table["kinds"] = {
                kind_names[kind]: self._errors(kinds == kind)
                for kind in np.unique(kinds)
            }
        return table

    def _errors(self, chosen: np.ndarray) -> dict[str, Any]:
        """Errors of the structures of a mask."""
        atoms = np.repeat(chosen, self["n_atoms"])  # (n_atoms,)
        result: dict[str, Any] = {"n_structures": int(chosen.sum())}
        names = self.quantities()
        if "energy" in names:
            names.insert(names.index("energy") + 1, "energy_per_atom")
        for name in names:
            rows = atoms if name in ("forces", "charges") else chosen
            result[name] = mae_rmse(self.residual(name)[rows], REPORTED[name][0])
        return result

    def _by_element(self) -> dict[str, Any]:
        """Errors of atomic quantities, by atomic number."""
        z = self["z"]
        return {
            name: {
                str(number): mae_rmse(
                    self.residual(name)[z == number], REPORTED[name][0]
                )
                for number in np.unique(z)
            }
            for name in self.quantities()
            if name in ("forces", "charges")
        }
