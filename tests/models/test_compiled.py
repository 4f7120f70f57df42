"""Energy and forces as one program: equal to the potential, weights' gradients too."""

import numpy as np
import pytest
import torch

from equicalc.graph import collate, make_graph
from equicalc.models import Mace, Potential, PotentialConfig, compile_forces, evaluate

CONFIG = PotentialConfig((1, 8), 4.0, (0, 1), 4, 2, 3, (5,), repulsion=False)
OUTPUTS = ("energy", "forces", "dipole", "charges")


@pytest.fixture(scope="module")
def potential():
    torch.manual_seed(0)
    return Potential(CONFIG).double()


@pytest.fixture(scope="module")
def compiled(potential):
    return compile_forces(potential, backend="aot_eager")


def random_batch(sizes):
    draw = np.random.default_rng(sum(sizes))
    return collate(
        [
            make_graph(
                draw.choice(CONFIG.elements, n),
                draw.uniform(0, 3 * n ** (1 / 3), (n, 3)),
                cutoff=CONFIG.cutoff,
            )
            for n in sizes
        ]
    )


def derivatives(model, weights, graph):
    """Outputs, and gradients of a loss on all of them."""
    out = evaluate(model, graph, OUTPUTS, create_graph=True)
    loss = torch.stack([value.sin().sum() for value in out.values()]).sum()
    gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
    return [*out.values(), *gradients]


@pytest.mark.parametrize("sizes", [(5, 3, 7), (2, 9, 4, 6), (8,), (1, 1)])
def test_outputs_and_gradients_of_a_loss_equal_the_potentials(
    potential, compiled, sizes
):
    graph, weights = random_batch(sizes), list(potential.parameters())
    found = derivatives(compiled, weights, graph)
    wanted = derivatives(potential, weights, graph)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_new_weights_are_seen(potential, compiled):
    graph = random_batch((4, 5))
    before = evaluate(compiled, graph)["forces"]
    with torch.no_grad():
        potential.embedding.mul_(2)
    assert not torch.allclose(evaluate(compiled, graph)["forces"], before)
    torch.testing.assert_close(
        evaluate(compiled, graph)["forces"], evaluate(potential, graph)["forces"]
    )


def test_second_derivatives_by_positions_are_the_potentials(potential, compiled):
    graph = random_batch((4,))
    found = evaluate(compiled, graph, ("hessian",))["hessian"]
    torch.testing.assert_close(
        found, evaluate(potential, graph, ("hessian",))["hessian"]
    )


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match="Mace cannot"):
        compile_forces(Mace.__new__(Mace))
