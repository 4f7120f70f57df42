"""Pre-training of networks of properties on vectors: noise, or dipole moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from equicalc.data.packed import add_edges
from equicalc.training.property_errors import VECTORS, column
from equicalc.training.property_task import PropertyTask
from equicalc.training.regularise import with_draw

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from equicalc.data.packed import PackedDataset


class VectorTask(PropertyTask):
    r"""The `Task` of networks that learn a vector from their features of degree 1.

    The target ``noise`` needs no labels. Atoms are displaced,

    .. math:: x_i = r_i + \epsilon_i - \bar\epsilon, \qquad
        \epsilon_i \sim \mathcal{N}(0, \sigma^2 1),

    and the displacements are what the network has to find; their mean over a structure
    is taken out, for nothing could tell it. The target ``dipole`` is a label.

    A vector is a mixture of features of degree 1 (`equicalc.models.TargetConfig`),
    which scalars alone cannot be made to fit: such a degree is used, or the loss stays
    as it is. Another run takes these weights with `init`, all but the mixture.

    References
    ----------
    .. [1] Zaidi et al., "Pre-training via denoising for molecular property
       prediction", ICLR 2023, arXiv:2206.00133.
    """

    @property
    def kind(self) -> str:
        """How the target turns: noise is of atoms, a dipole moment of molecules."""
        return "atom vector" if self.targets == ("noise",) else "vector"

    def check_targets(self) -> None:
        """Raise ValueError if there is more than the one vector."""
        if len(self.targets) > 1:
            raise ValueError(
                f"properties.targets {list(self.targets)}: a vector is learned by "
                f"itself; name one of {', '.join(VECTORS)}, or properties alone"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Targets that the structures must have: noise is made."""
        return () if self.kind == "atom vector" else self.targets

    def constants(
        self,
        dataset: PackedDataset,
        counts: np.ndarray,
        elements: np.ndarray,
        per_atom: bool,
    ) -> dict[str, tuple]:
        """Return the scale: of the noise, or the root mean square of the labels."""
        if self.kind == "atom vector":
            return {"scales": (self.config.properties.sigma,)}
        labels = dataset.column(column(self.targets[0])).astype(np.float64)
        return {"scales": (float(np.sqrt(np.square(labels).mean())) or 1.0,)}

    def batch(
        self, model: torch.nn.Module, dataset: PackedDataset, indices: np.ndarray
    ) -> Data:
        """Collect structures into a graph with their ``targets``.

        Noise is drawn from the seed and the structures of the batch.
        """
        if self.kind == "vector":
            return super().batch(model, dataset, indices)
        graph = dataset.batch(indices)
        rng = np.random.default_rng([self.config.seed, *indices.tolist()])
        noise = centred_noise(graph, self.config.properties.sigma, rng)
        graph["pos"] = graph["pos"] + noise.to(graph["pos"].dtype)
        graph["targets"] = noise.unsqueeze(2)  # (n_atoms, 3, 1)
        add_edges(graph, cast(float, model.cutoff))
        return with_draw(graph, self.config, indices)


def centred_noise(graph: Data, sigma: float, rng: np.random.Generator) -> Tensor:
    """Draw displacements of atoms that leave the centre of every structure.

    Parameters
    ----------
    graph
        The structures.
    sigma
        Standard deviation of each component before centring, Angstrom.
    rng
        Where the numbers come from.

    Returns
    -------
    (n_atoms, 3), Angstrom, float64
    """
    noise = torch.from_numpy(sigma * rng.standard_normal((len(graph["z"]), 3)))
    sizes = graph["ptr"].diff()
    sums = noise.new_zeros(len(sizes), 3).index_add(0, graph["batch"], noise)
    return noise - (sums / sizes.unsqueeze(1))[graph["batch"]]
