"""The convolution in plain torch: the definition, and the path without a compiler."""

from __future__ import annotations

import torch
from torch import Tensor

from .adjacency import Adjacency
from .paths import Paths, coupling_tensor

__all__ = ["uvu_reference"]


def uvu_reference(
    x: Tensor, y: Tensor, w: Tensor, adj: Adjacency, paths: Paths
) -> Tensor:
    """Compute the convolution path by path; see `UVUConvolution` for the arguments."""
    sent = x[adj.src]  # (n_edges, sum 2l_in+1, channels)
    out = x.new_zeros(len(x), paths.rows, x.shape[2])
    for p, (l1, l2, l3) in enumerate(paths.couplings):
        start1, start2 = paths.offsets[p]
        C = coupling_tensor(l1, l2, l3).to(y)
        # (n_edges, 2l3+1, 2l1+1) matrix shared by all channels
        B = torch.einsum("eb,abc->eca", y[:, start2 : start2 + 2 * l2 + 1], C)
        message = B @ sent[:, start1 : start1 + 2 * l1 + 1] * w[:, p : p + 1]
        summed = out.new_zeros(len(x), 2 * l3 + 1, x.shape[2])
        summed = summed.index_add(0, adj.dst, message)
        out = out.index_add(1, torch.tensor(paths.row_of[p], device=x.device), summed)
    return out
