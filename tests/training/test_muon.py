"""The optimiser of matrices: its steps, and that other weights are left to AdamW."""

import copy

import pytest
import torch

from equicalc.training.muon import Muon, orthogonal_part

SETTINGS = {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1}


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = (torch.nn.Linear(12, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    return torch.nn.Sequential(*layers)


def descend(network, optimizer, steps):
    """Learn a function of twelve numbers."""
    for step in steps:
        x = torch.randn(32, 12, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (network(x) - x[:, :2].sin()).square().mean().backward()
        optimizer.step()


def assert_same(one, other):
    for a, b in zip(one.parameters(), other.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 30), (2, 2, 30, 8)])
def test_singular_vectors_stay_and_singular_values_become_one(shape):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64)
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    found = u.mT @ orthogonal_part(1e-6 * x) @ v.mT
    sizes = found.diagonal(0, -2, -1)
    torch.testing.assert_close(found, torch.diag_embed(sizes))
    large = sizes[s > s.amax(-1, keepdim=True) / 100]
    assert large.min() > 0.65
    assert large.max() < 1.25


def test_nothing_is_orthogonal_to_nothing():
    assert (orthogonal_part(torch.zeros(8, 9)) == 0).all()


def test_first_step_of_a_matrix(network):
    weight = network[0].weight
    before = weight.detach().clone()
    optimizer = Muon(network.parameters(), **SETTINGS)
    network(torch.randn(4, 12)).square().sum().backward()
    along = orthogonal_part(weight.grad.clone())
    optimizer.step()
    expected = before * (1 - 0.01 * 0.1) - 0.01 * 0.2 * 16**0.5 * along
    torch.testing.assert_close(weight.detach(), expected)


def test_other_weights_are_left_to_adamw(network):
    network[0].weight.requires_grad_(False)
    other = copy.deepcopy(network)
    descend(network, Muon(network.parameters(), **SETTINGS), range(5))
    descend(other, torch.optim.AdamW(other.parameters(), **SETTINGS), range(5))
    assert_same(network, other)


def test_goes_on_from_a_saved_state(network):
    first = Muon(network.parameters(), **SETTINGS)
    descend(network, first, range(5))
    other = copy.deepcopy(network)
    second = Muon(other.parameters(), **SETTINGS)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    descend(network, first, range(5, 9))
    descend(other, second, range(5, 9))
    assert_same(network, other)
