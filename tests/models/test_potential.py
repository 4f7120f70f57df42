"""What every potential must obey, whatever its weights."""

from dataclasses import asdict

import pytest
import torch

from equicalc import o3
from equicalc.graph import collate, make_graph
from equicalc.models import Potential, PotentialConfig, build_model, evaluate

CUTOFF = 3.0
SHAPES = {"scalars and vectors": (0, 1), "NequIP": (0, 1, 2), "gap": (0, 1, 3)}
EV = {"energy", "energies", "forces", "charges", "dipole", "embedding"}


def potential(ls=(0, 1, 2), backend="auto", **changes):
    torch.manual_seed(1)
    config = PotentialConfig(
        elements=(1, 6, 8),
        cutoff=CUTOFF,
        ls=ls,
        channels=4,
        avg_neighbors=4.0,
        reference_energies=(-10.0, -40.0, -80.0),
        **changes,
    )
    return Potential(config, backend).double()


def molecule(n_atoms=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.tensor([1, 6, 8])[torch.randint(0, 3, (n_atoms,), generator=generator)]
    sites = torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 3) * 1.1
    jitter = torch.rand(n_atoms, 3, generator=generator, dtype=torch.float64) * 0.3
    return z, sites[torch.randperm(27, generator=generator)[:n_atoms]] + jitter


def graph(z, pos, cell=None, pbc=None):
    made = make_graph(z, pos, cell, pbc, cutoff=CUTOFF)
    return made.update({"pos": torch.as_tensor(pos, dtype=torch.float64)})


def close(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("ls", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("inversion", [1, -1], ids=["rotation", "with inversion"])
def test_equivariant(ls, inversion):
    model, (z, pos) = potential(ls), molecule()
    turn = inversion * o3.rand_matrix(dtype=torch.float64)
    a = evaluate(model, graph(z, pos), EV)
    b = evaluate(model, graph(z, pos @ turn.T), EV)
    for scalar in ("energies", "charges", "embedding"):
        close(a[scalar], b[scalar])
    for vector in ("forces", "dipole"):
        close(a[vector] @ turn.T, b[vector])


def test_translation_and_permutation():
    model, (z, pos) = potential(), molecule()
    order = torch.randperm(len(z))
    a = evaluate(model, graph(z, pos), EV)
    b = evaluate(model, graph(z[order], pos[order] + 7.0), EV)
    for name in ("energies", "forces", "charges", "embedding"):
        close(a[name][order], b[name])
    close(a["dipole"], b["dipole"])


def test_a_batch_is_its_structures():
    model = potential()
    graphs = [graph(*molecule(n, n)) for n in (1, 5, 2, 9)]
    together = evaluate(model, collate(graphs), EV)
    for name in EV:
        alone = torch.cat([evaluate(model, g, EV)[name] for g in graphs])
        close(together[name], alone)


def test_no_gradient_crosses_molecules():
    model = potential()
    batch = collate([graph(*molecule(4, 1)), graph(*molecule(5, 2))])
    pos = batch["pos"].requires_grad_()
    energy = evaluate(model, batch, ["energy"], create_graph=True)["energy"]
    [gradient] = torch.autograd.grad(energy[0], pos)
    assert gradient[:4].any()
    assert not gradient[4:].any()


def test_an_isolated_atom_has_its_reference_energy():
    z = torch.tensor([1, 6, 8])
    far = torch.arange(9.0, dtype=torch.float64).view(3, 3) * 100
    out = evaluate(potential(), graph(z, far), ["energies", "forces", "charges"])
    close(out["energies"], torch.tensor([-10.0, -40.0, -80.0], dtype=torch.float64))
    assert not out["forces"].any()
    assert not out["charges"].any()


def test_far_fragments_add_up():
    model, (z, pos) = potential(), molecule()
    one = evaluate(model, graph(z, pos))
    pair = graph(torch.cat([z, z]), torch.cat([pos, pos + 50.0]))
    two = evaluate(model, pair)
    close(two["energy"], 2 * one["energy"])
    close(two["forces"], torch.cat([one["forces"], one["forces"]]))


def test_smooth_at_the_cutoff():
    model = potential()

    def force(distance):
        pos = torch.tensor([[0.0, 0, 0], [0, 0, 1.0], [distance, 0, 0]]).double()
        return evaluate(model, graph(torch.tensor([8, 1, 6]), pos))["forces"]

    for edge in (CUTOFF, (CUTOFF**2 - 1) ** 0.5):  # of one atom, of the other
        assert (force(edge - 1e-4) - force(edge + 1e-4)).abs().max() < 1e-6


def numerical(function, x, step=2e-5):
    rows = []
    for i in range(x.numel()):
        shift = torch.zeros_like(x).flatten()
        shift[i] = step
        shift = shift.view(x.shape)
        rows.append((function(x + shift) - function(x - shift)) / (2 * step))
    return torch.stack(rows)


@pytest.mark.parametrize("ls", SHAPES.values(), ids=SHAPES)
def test_forces_are_the_gradient(ls):
    model, (z, pos) = potential(ls), molecule()
    forces = evaluate(model, graph(z, pos))["forces"]
    slope = numerical(lambda p: evaluate(model, graph(z, p), ["energy"])["energy"], pos)
    close(forces.flatten(), -slope.flatten(), 1e-6)


def test_stress_is_the_derivative_by_strain():
    model, (z, pos) = potential(), molecule(3)
    cell = torch.tensor([[2.9, 0, 0], [0.4, 3.1, 0], [0, -0.3, 2.7]]).double()

    def energy(strain):
        deform = torch.eye(3, dtype=torch.float64) + 0.5 * (strain + strain.T)
        strained = graph(z, pos @ deform, cell @ deform, [True] * 3)
        strained.update({"cell": (cell @ deform).unsqueeze(0)})
        return evaluate(model, strained, ["energy"])["energy"]

    crystal = graph(z, pos, cell, [True] * 3).update({"cell": cell.unsqueeze(0)})
    stress = evaluate(model, crystal, ["stress"])["stress"][0]
    slope = numerical(energy, torch.zeros(3, 3, dtype=torch.float64))
    close(stress, slope.view(3, 3) / torch.linalg.det(cell), 1e-6)


def test_any_function_of_graph_and_vectors_is_evaluated():
    model, one = potential(), graph(*molecule())
    outputs = ("energy", "forces")
    found = evaluate(lambda *given: model(*given), one, outputs)
    for name, value in evaluate(model, one, outputs).items():
        close(found[name], value)


def test_hessian_is_the_derivative_of_the_forces():
    model, (z, pos) = potential(), molecule(4)
    hessian = evaluate(model, graph(z, pos), ["hessian"])["hessian"]
    rows = numerical(lambda p: -evaluate(model, graph(z, p))["forces"].flatten(), pos)
    close(hessian, rows, 1e-6)


def test_supercell_is_extensive():
    model, (z, pos) = potential(), molecule(2)
    cell = torch.eye(3, dtype=torch.float64) * 2.2  # smaller than the cutoff
    one = evaluate(model, graph(z, pos, cell, [True] * 3))["energy"]
    double = torch.cat([pos, pos + cell[0]])
    stretched = cell * torch.tensor([2.0, 1, 1], dtype=torch.float64)[:, None]
    two = graph(torch.cat([z, z]), double, stretched, [True] * 3)
    close(evaluate(model, two)["energy"], 2 * one, 1e-5)  # cells are single precision


def test_charges_add_up_to_zero():
    out = evaluate(potential(), graph(*molecule()), ["charges"])
    assert out["charges"].abs().max() > 1e-3
    assert out["charges"].sum().abs() < 1e-12


@pytest.mark.parametrize("ls", SHAPES.values(), ids=SHAPES)
def test_backends_share_weights_and_results(ls):
    plain, fast = potential(ls, "torch"), potential(ls, "auto")
    fast.load_state_dict(plain.state_dict())
    structure = graph(*molecule())
    a, b = evaluate(plain, structure, EV), evaluate(fast, structure, EV)
    for name in EV:
        close(a[name], b[name])


def test_training_gradients_do_not_depend_on_the_backend():
    def gradients(backend):
        model = potential(backend=backend)
        out = evaluate(model, graph(*molecule()), EV, create_graph=True)
        loss = torch.stack([out[name].square().sum() for name in EV]).sum()
        return torch.autograd.grad(loss, list(model.parameters()))

    for a, b in zip(gradients("torch"), gradients("auto"), strict=True):
        close(a, b)


def test_atoms_repel_when_they_nearly_touch():
    model = potential()
    for distance in (0.05, 0.1, 0.2):
        pos = torch.tensor([[0.0, 0, 0], [distance, 0, 0]]).double()
        forces = evaluate(model, graph(torch.tensor([6, 6]), pos))["forces"]
        assert forces[1, 0] > 100


def test_configuration_survives_a_dict():
    model = potential()
    again = build_model("potential", asdict(model.config))
    assert again.config == model.config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elements": (6, 1)}, "ascending"),
        ({"ls": (1, 2)}, "start with 0"),
        ({"ls": (0, 2)}, "dipole needs vector"),
        ({"reference_energies": (1.0,)}, "1 reference energies for 2"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_model("potential", {"elements": (1, 6), **changes})


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="unknown model 'transformer'"):
        build_model("transformer", {})
    with pytest.raises(ValueError, match="chanels"):
        build_model("potential", {"elements": (1,), "chanels": 4})
    with pytest.raises(ValueError, match="unknown outputs"):
        evaluate(potential(), graph(*molecule()), ["heat"])


def test_unknown_elements_are_named():
    with pytest.raises(ValueError, match=r"\[7, 118\].*\[1, 6, 8\]"):
        evaluate(potential(), graph([118, 1, 7], torch.rand(3, 3)))


def test_stress_needs_a_cell():
    with pytest.raises(ValueError, match="lattice vectors"):
        evaluate(potential(), graph(*molecule()), ["stress"])


def test_repulsion_wins_in_the_end():
    """What the network adds per atom is bounded; the repulsion is not."""
    model, (z, pos) = potential(), molecule(9)
    energies = [
        evaluate(model, graph(z, pos * scale), ("energy",))["energy"].item()
        for scale in (0.2, 0.1, 0.05)
    ]
    assert energies == sorted(energies)
    assert energies[-1] > 1e3
