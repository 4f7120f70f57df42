"""Eight shapes of four blocks, two of them mirror images, known from any direction.

A network of scalars sees distances only: it mistakes one mirror image for the other and
reaches 7 of 8. With vectors it reaches 8 of 8, on rotations that it never saw.

    python examples/31_tetris.py
"""

import argparse

import torch
from torch_geometric.data import Data

from equicalc import o3
from equicalc.graph import collate, make_graph
from equicalc.models import QM9Net, QM9NetConfig

SHAPES = {
    "left": [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 1, 0)],
    "right": [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, -1, 0)],
    "square": [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)],
    "line": [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)],
    "corner": [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)],
    "L": [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)],
    "T": [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 1)],
    "zigzag": [(0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 1, 0)],
}
CUTOFF = 4.0


def network(multiplicities: tuple[int, ...]) -> QM9Net:
    """A logit for every shape, the sum of what the blocks contribute."""
    config = QM9NetConfig(
        elements=(1,),
        targets=tuple(SHAPES),
        cutoff=CUTOFF,
        n_radial=12,
        radial_hidden=(16,),
        embedding=8,
        multiplicities=multiplicities,
        layers=3,  # vectors, their cross products, triple products: mirror images
        output_hidden=(16,),
        avg_neighbors=3.0,
    )
    return QM9Net(config)


def shapes(rotations: int) -> tuple[Data, torch.Tensor]:
    """All shapes in random orientations, or as they are above; and which is which."""
    turns = [o3.rand_matrix() for _ in range(rotations)] or [torch.eye(3)]
    graphs = [
        make_graph([1] * 4, torch.tensor(p).float() @ turn.T, cutoff=CUTOFF)
        for turn in turns
        for p in SHAPES.values()
    ]
    return collate(graphs), torch.arange(len(SHAPES)).repeat(len(turns))


def accuracy(multiplicities: tuple[int, ...], steps: int, rotations: int) -> float:
    """Train on the shapes as they are, test on random rotations of them."""
    torch.manual_seed(0)
    model = network(multiplicities)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    graph, labels = shapes(0)
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(model(graph)["values"], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    graph, labels = shapes(rotations)
    with torch.no_grad():
        found = model(graph)["values"].argmax(1)
    return (found == labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    given = parser.parse_args()
    steps, rotations = (60, 10) if given.quick else (200, 100)
    for name, multiplicities in {"L0": (8,), "L1": (8, 4)}.items():
        share = accuracy(multiplicities, steps, rotations)
        print(f"{name}: {8 * share:.2f} of 8 shapes on {rotations} random rotations")


if __name__ == "__main__":
    main()
