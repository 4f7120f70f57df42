"""What every network of molecular properties must obey, whatever its weights."""

import dataclasses
from typing import Any, cast

import pytest
import torch

from equicalc import o3
from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.graph import collate, make_graph
from equicalc.models import PropertyNetwork, build_model, evaluate, taps_of

CONSTANTS = {
    "elements": (1, 6, 8),
    "targets": ("U0", "mu"),
    "references": ((-13.0, -1030.0, -2042.0), (0.0, 0.0, 0.0)),
    "means": (0.3, 0.1),
    "scales": (2.0, 0.5),
}
SMALL = {"embedding": 6, "radial_hidden": (5,), "n_radial": 6, "cutoff": 3.0}
TWO_DEGREES = {**SMALL, "multiplicities": (6, 3), "layers": 2}
OWN_LAYERS = {
    "output_multiplicities": (4, 5),
    "output_layers": 1,
    "output_hidden": (7,),
}
FUSED = {
    **SMALL,
    "convolution": "fused",
    "chiral": False,
    "multiplicities": (6, 6, 6),
    "layers": 2,
    "basis": "bessel",
    "output_hidden": (12,),
}
TRITON = {"cutoff": 3.0, "channels": 4, "layers": 2, "n_radial": 6, "embedding": 5}
NETWORKS = {
    "equitriton": ("equitriton", TRITON),
    "degrees in any order": ("equitriton", {**TRITON, "ls": (3, 0, 1)}),
    "L0Net": ("qm9net", {**TWO_DEGREES, "multiplicities": (8,)}),
    "L1Net": ("qm9net", TWO_DEGREES),
    "L1Net with parity": ("qm9net", {**TWO_DEGREES, "chiral": False}),
    "gaussian": ("qm9net", {**TWO_DEGREES, "basis": "gaussian", "layers": 1}),
    "own layers for each target": ("qm9net", {**TWO_DEGREES, **OWN_LAYERS}),
    "fused": ("qm9net", FUSED),
}


def built(kind, config, backend="auto"):
    return cast(PropertyNetwork, build_model(kind, config, backend)).double()


def irreps_of(model):
    return cast(Any, o3.Irreps(model.irreps_features))


def network(name):
    torch.manual_seed(1)
    kind, changes = NETWORKS[name]
    return built(kind, CONSTANTS | changes, backend="torch")


def molecule(n_atoms=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.tensor([1, 6, 8])[torch.randint(0, 3, (n_atoms,), generator=generator)]
    sites = torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 3) * 1.1
    jitter = torch.rand(n_atoms, 3, generator=generator, dtype=torch.float64) * 0.3
    return z, sites[torch.randperm(27, generator=generator)[:n_atoms]] + jitter


def graph(model, z, pos):
    made = make_graph(z, pos, None, None, cutoff=model.cutoff)
    return made.update({"pos": torch.as_tensor(pos, dtype=torch.float64)})


def close(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=NETWORKS)
def model(request):
    return network(request.param)


def test_values_are_invariant_and_features_equivariant(model):
    z, pos = molecule()
    turn = o3.rand_matrix(dtype=torch.float64)
    a, b = graph(model, z, pos), graph(model, z, pos @ turn.T + 3.0)
    close(model(a)["values"], model(b)["values"])
    irreps = irreps_of(model)
    wigner = irreps.D_from_matrix(turn)
    features = model.node_features(a)
    assert features.shape == (6, irreps.dim)
    close(features @ wigner.T, model.node_features(b))


@pytest.mark.parametrize("name", ["equitriton", "L1Net with parity", "fused"])
def test_without_chirality_mirror_images_are_alike(name):
    model, (z, pos) = network(name), molecule()
    a, b = graph(model, z, pos), graph(model, z, -pos)
    close(model(a)["values"], model(b)["values"])
    inversion = irreps_of(model).D_from_matrix(-torch.eye(3, dtype=torch.float64))
    close(model.node_features(a) @ inversion.T, model.node_features(b))


def test_a_chiral_network_tells_mirror_images_apart():
    model, (z, pos) = network("L1Net"), molecule()
    a, b = graph(model, z, pos), graph(model, z, -pos)
    assert (model(a)["values"] - model(b)["values"]).abs().max() > 1e-6


def test_the_order_of_atoms_does_not_matter(model):
    z, pos = molecule()
    order = torch.randperm(len(z))
    a, b = graph(model, z, pos), graph(model, z[order], pos[order])
    close(model(a)["values"], model(b)["values"])
    close(model.node_features(a)[order], model.node_features(b))


def test_a_batch_is_its_molecules(model):
    graphs = [graph(model, *molecule(n, n)) for n in (1, 5, 2)]
    alone = torch.cat([model(g)["values"] for g in graphs])
    close(model(collate(graphs))["values"], alone)


def test_isolated_atoms_add_up(model):
    z, far = torch.tensor([1, 6, 8]), torch.arange(9.0).view(3, 3) * 100
    together = model(graph(model, z, far))["values"]
    alone = sum(model(graph(model, z[i : i + 1], far[:1]))["values"] for i in range(3))
    assert together.isfinite().all()
    mean = 0.0 if model.config.per_atom else 2 * torch.tensor(CONSTANTS["means"])
    close(together, alone - mean)


def test_the_gradient_reaches_every_weight(model):
    z, pos = molecule()
    model(graph(model, z, pos))["values"].sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert all("layers" in name for name in without), without
    # only what goes to degrees that nothing reads may have none
    assert len(without) < len(list(model.parameters()))


def test_constants_shift_and_scale():
    z, pos = molecule()
    model = network("L1Net")
    g = graph(model, z, pos)
    plain = dataclasses.replace(model.config, references=(), means=(), scales=())
    bare = built("qm9net", dataclasses.asdict(plain))
    bare.load_state_dict(model.state_dict())
    references, means, scales = (
        torch.tensor(CONSTANTS[name], dtype=torch.float64)
        for name in ("references", "means", "scales")
    )
    shift = references[:, model.species(z)].sum(1) + len(z) * means
    close(model(g)["values"][0], shift + scales * bare(g)["values"][0])


def test_our_convolution_is_that_of_e3nn():
    config = CONSTANTS | TRITON | {"ls": (0, 1, 3)}
    torch.manual_seed(0)
    ours = built("equitriton", config)
    theirs = built("equitriton", config, "e3nn")
    theirs.load_state_dict(ours.state_dict())
    g = graph(ours, *molecule())
    close(ours(g)["values"], theirs(g)["values"])
    close(ours.node_features(g), theirs.node_features(g))


@pytest.mark.parametrize(
    ("ls", "channels", "millions"),
    [
        ((0, 1, 2), 32, 1.6),
        ((0, 1, 2, 4), 32, 3.0),
        ((0, 1, 2, 6), 32, 2.6),
        ((0, 1, 2, 3, 4), 16, 0.8),
        (tuple(range(7)), 16, 1.9),
        ((0, 3, 4, 5, 6), 16, 0.8),
    ],
)
def test_sizes_are_those_of_the_paper(ls, channels, millions):
    config = {"elements": range(1, 101), "ls": ls, "channels": channels}
    model = build_model("equitriton", config)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.1
    )


def test_features_are_tapped_after_every_layer(model):
    g, taps = graph(model, *molecule()), taps_of(model)
    assert len(taps.features) == model.config.layers
    last = taps.features[-1]
    seen = []
    last.module.register_forward_hook(lambda *call: seen.append(call[2]))
    features = model.node_features(g)
    blocks = [x.flatten(1) for x in last.split(seen[0]).values()]
    close(torch.cat(blocks, 1), features)


def test_energies_of_atoms_add_up_to_u0(model):
    z, pos = molecule()
    out = evaluate(model, graph(model, z, pos), ["energy", "forces"])
    close(out["energy"], model(graph(model, z, pos))["values"][:, 0])
    assert out["forces"].any()


@pytest.mark.parametrize("name", ["equitriton", "own layers for each target", "fused"])
def test_a_checkpoint_gives_the_network_back(tmp_path, name):
    model = network(name).float()
    path = save_checkpoint(tmp_path / "model.safetensors", model, {})
    again, card = load_checkpoint(path, backend="torch")
    assert card["elements"] == [1, 6, 8]
    g = graph(model, *molecule())
    close(again(g)["values"], model(g)["values"], 1e-6)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("equitriton", {"ls": (1, 2)}, "0 among them"),
        ("equitriton", {"means": (1.0, 2.0)}, "2 means for 1 targets"),
        ("qm9net", {"targets": ()}, "name at least one property"),
        ("qm9net", {"elements": (6, 1)}, "ascending order"),
        ("qm9net", {"output_layers": 1}, "give both or neither"),
        ("qm9net", {"multiplicities": (0, 4)}, "at least one for degree 0"),
        ("qm9net", {"convolution": "fused"}, "same number for all"),
        (
            "qm9net",
            {"convolution": "fused", "embedding": 4, "multiplicities": (4, 4)},
            "chiral: false",
        ),
        ("qm9net", {"basis": "splines"}, "unknown radial basis"),
    ],
)
def test_shapes_that_make_no_sense_are_explained(name, changes, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, {"elements": (1, 6), **changes})
