"""Compiled maps of a layer's nodes are what the modules of a network compute."""

import pytest
import torch

from equicalc.kernels import cpp
from equicalc.models.analytic import nodes as module
from equicalc.models.analytic.node_loops import Shape
from equicalc.models.analytic.nodes import NodeMaps

pytestmark = pytest.mark.skipif(
    cpp.find_compiler() is None, reason="there is no C++ compiler"
)

N_SPECIES = 3
BOUND = 2.0
SHAPES = {
    "scalars to all": Shape((0,), (0, 1, 2), (1, 1, 1), 4, 12, BOUND),
    "degrees that come and go": Shape((0, 1, 3), (0, 2), (3, 2), 4, 8, BOUND),
    "scalars only": Shape((0, 1), (0,), (2,), 4, 4, BOUND),
    "a wide gate": Shape((0, 1), (0, 1), (2, 2), 4, 12, BOUND),
    "an odd gate": Shape((0, 1), (0, 1), (2, 2), 4, 7, BOUND),
}


class Definition:
    """The formulas of `NodeMaps`, degree by degree."""

    def __init__(self, shape, dtype):
        self.shape, C, D = shape, shape.channels, len(shape.ls_out)
        widths = [*[1] * len(shape.ls_in), *shape.n_paths, *[1] * len(shape.kept)]
        self.matrices = [torch.randn(n * C, C, dtype=dtype) / C for n in widths]
        self.scale = torch.randn(N_SPECIES, len(shape.kept), C, dtype=dtype)
        linear = torch.nn.Linear(D * C, shape.width, dtype=dtype)
        self.hidden = linear.requires_grad_(False)
        linear = torch.nn.Linear(shape.width, D * C, dtype=dtype)
        self.output = linear.requires_grad_(False)

    def compiled(self):
        maps = NodeMaps.build(
            self.shape, self.matrices, self.scale, self.hidden, self.output
        )
        assert maps is not None
        return maps

    def before(self, h):
        rows = split(h, self.shape.ls_in)
        return torch.cat([x @ B for x, B in zip(rows, self.matrices)], 1)

    def after(self, messages, h, species):
        shape, n = self.shape, len(h)
        degrees, start = [], 0
        maps = self.matrices[len(shape.ls_in) :]
        for l, n_paths, A in zip(shape.ls_out, shape.n_paths, maps):
            stop = start + (2 * l + 1) * n_paths
            degrees.append(messages[:, start:stop].reshape(n, 2 * l + 1, -1) @ A)
            start = stop
        features = dict(zip(shape.ls_in, split(h, shape.ls_in)))
        own = self.matrices[len(shape.ls_in) + len(shape.ls_out) :]
        for k, (l, S) in enumerate(zip(shape.kept, own)):
            scaled = features[l] * self.scale[species, k].unsqueeze(1)
            position = shape.ls_out.index(l)
            degrees[position] = degrees[position] + scaled @ S
        norms = [x.square().mean(1) for x in degrees[1:]]
        v = torch.cat([degrees[0].squeeze(1), *norms], 1)
        v = v / (1 + (v / BOUND) ** 2).sqrt()
        mixed = self.output(torch.nn.functional.silu(self.hidden(v))).unsqueeze(1)
        new, *gates = mixed.chunk(len(degrees), 2)
        return torch.cat([new, *(x * g for x, g in zip(degrees[1:], gates))], 1)


def split(x, ls):
    return x.split([2 * l + 1 for l in ls], 1)


def inputs(shape, n_nodes, dtype):
    C = shape.channels
    messages = torch.randn(n_nodes, shape.rows[-1], C, dtype=dtype)
    h = torch.randn(n_nodes, shape.rows_in[-1], C, dtype=dtype)
    return messages, h, torch.randint(0, N_SPECIES, (n_nodes,))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_values_and_gradients_are_those_of_the_definition(shape):
    definition = Definition(shape, torch.float64)
    maps = definition.compiled()
    messages, h, species = inputs(shape, 19, torch.float64)  # two blocks and a rest
    messages.requires_grad_()
    h.requires_grad_()
    out, saved = maps.after(messages.detach(), h.detach(), species)
    wanted = definition.after(messages, h, species)
    torch.testing.assert_close(out, wanted.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(maps.before(h.detach()), definition.before(h.detach()))
    g_before, g_after = torch.randn_like(h), torch.randn_like(wanted)
    loss = (wanted * g_after).sum() + (definition.before(h) * g_before).sum()
    gradients = torch.autograd.grad(loss, (messages, h))
    g_messages, g_h = maps.pull_after(g_after, saved, species, to_features=True)
    assert g_h is not None
    maps.pull_before(g_before, g_h)
    for found, gradient in zip((g_messages, g_h), gradients, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-10, atol=1e-12)


def test_single_precision():
    shape = SHAPES["scalars to all"]
    definition = Definition(shape, torch.float32)
    messages, h, species = inputs(shape, 9, torch.float32)
    out, _ = definition.compiled().after(messages, h, species)
    torch.testing.assert_close(out, definition.after(messages, h, species))


def test_a_node_does_not_depend_on_the_others_to_the_last_bit():
    shape = SHAPES["degrees that come and go"]
    maps = Definition(shape, torch.float64).compiled()
    tensors = inputs(shape, 11, torch.float64)
    together, _ = maps.after(*tensors)
    alone, _ = maps.after(*(t[10:] for t in tensors))
    assert torch.equal(together[10:], alone)


def test_strided_features_are_refused():
    shape = SHAPES["scalars to all"]
    maps = Definition(shape, torch.float64).compiled()
    with pytest.raises(ValueError, match=r"shape \(4, 1, 4\) is not contiguous"):
        maps.before(torch.zeros(8, 1, 4, dtype=torch.float64)[::2])


def test_no_nodes():
    shape = SHAPES["scalars to all"]
    maps = Definition(shape, torch.float64).compiled()
    messages, h, species = inputs(shape, 0, torch.float64)
    out, saved = maps.after(messages, h, species)
    assert out.shape == (0, 9, 4)
    g_messages, g_h = maps.pull_after(out, saved, species, to_features=False)
    assert g_messages.shape == messages.shape
    assert g_h is None


def test_nothing_is_compiled_without_a_compiler(monkeypatch):
    monkeypatch.setattr(module, "library", lambda shape, dtype: None)
    d = Definition(SHAPES["scalars only"], torch.float64)
    found = NodeMaps.build(d.shape, d.matrices, d.scale, d.hidden, d.output)
    assert found is None
