"""What the predictor says of itself: errors to expect, doubts about crystals."""

import copy

import numpy as np
import pytest

from equicalc.crystals import LatticeEnergyPredictor


def test_the_given_network_is_left_alone(predictor):
    network = copy.deepcopy(predictor.model).train().requires_grad_()
    LatticeEnergyPredictor(network)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())


def test_relaxations_that_change_much_are_doubtful(predictor, packed):
    assert predictor.doubts(packed(14, 1.02), packed(14)) == predictor.doubts(
        packed(14, 1.02)
    )
    (*_, note) = predictor.doubts(packed(14, 0.95), packed(14))
    assert note == "volume changed by -14 %"
    (*_, note) = predictor.doubts(packed(14, 1.1).to_atoms(), packed(14).to_atoms())
    assert note == "volume changed by +33 %"


def test_errors_to_expect_follow_from_the_card(predictor, packed):
    crystals = [packed(14), packed(1)]
    plain = predictor.uncertainty(crystals)
    told = LatticeEnergyPredictor(predictor.model, {"spread": [2.0, 3.0]})
    assert told.uncertainty(crystals) == pytest.approx(np.hypot(2 * plain, 3))
    stds = [row["std_kJ/mol"] for row in told.score(crystals)]
    assert stds == pytest.approx(told.uncertainty(crystals))


def test_what_is_no_crystal_any_more_is_told(predictor, packed):
    torn = packed(14).to_atoms()
    torn.positions[0] += 2.0
    (note,) = predictor.doubts(torn, packed(14))
    assert note
