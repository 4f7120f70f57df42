"""Slots are single atoms at the start, and nothing where there is no atom."""

import torch

from equicalc.models.slots import PLACES, SlotPoints, SlotSum, addresses


def test_addresses_tell_element_and_number():
    species = torch.tensor([0, 1, 1])
    found = addresses(species, torch.tensor([0.0, 0.0, 3.0]), 2)
    assert found.argmax(1).tolist() == [0, PLACES, PLACES + 3]
    between = addresses(torch.tensor([0]), torch.tensor([1.5]), 2)[0]
    torch.testing.assert_close(between[1], between[2])


def sums(slots, r, species, number):
    torch.manual_seed(0)
    layer = SlotSum(4, 4, slots).double()
    n = len(r)
    features = (
        torch.zeros(n, 4).double(),
        torch.zeros(n, 3, 4).double(),
        addresses(species, number.double(), len(slots)),
    )
    batch, ptr = torch.zeros(n, dtype=torch.int64), torch.tensor([0, n])
    return layer(features, r.unsqueeze(2), batch, ptr)[0].T


def test_a_slot_is_the_atom_of_its_address():
    r = torch.randn(3, 3, dtype=torch.float64)
    found = sums((1, 2), r, torch.tensor([1, 0, 1]), torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(found[:3], r[[1, 2, 0]], atol=0.05, rtol=0.05)


def test_an_empty_slot_is_short():
    r = torch.randn(2, 3, dtype=torch.float64)
    found = sums((1, 2), r, torch.tensor([1, 1]), torch.tensor([0.0, 1.0]))
    assert found[0].norm() < 0.05 * r.norm(dim=1).max()


def test_points_of_slots_have_their_place_element_and_share():
    torch.manual_seed(0)
    layer = SlotPoints(4, 5, (1, 2)).double()
    g = torch.randn(1, 3, 4, dtype=torch.float64)
    g[:, :, 1] = 0
    with torch.no_grad():
        positions, logits = layer(g)
    torch.testing.assert_close(positions[0, :3], g[0, :, :3].T)
    assert logits[0, :3, :2].argmax(1).tolist() == [0, 1, 1]
    shares = logits[0, :, 2].softmax(0)
    torch.testing.assert_close(shares[0], shares[2], atol=0.02, rtol=0)
    assert shares[0] > 0.4
    assert max(shares[1], shares[3], shares[4]) < 0.01
