"""Searches favour what scores high, and Monte Carlo by the right amount."""

import numpy as np
from ase import Atoms

from equicalc.design.search import (
    Evolution,
    Member,
    MonteCarlo,
    Population,
    tempering,
)

RNG = np.random.default_rng


def members(scores):
    return [Member(f"m{k}", Atoms("C"), s, f"C{k}") for k, s in enumerate(scores)]


def test_the_first_round_is_new():
    for search in (Evolution(), MonteCarlo()):
        assert search.parents(Population(), 3, RNG(0)) == [None] * 3


def test_evolution_keeps_the_best_of_all_rounds():
    search = Evolution(survivors=2)
    first = search.updated(Population(), [*members([1, 5]), None], 3, RNG(0))
    assert [one.score for one in first.members] == [5, 1]
    later = [Member("x", Atoms("C"), 3, "CX")]
    second = search.updated(first, later, 3, RNG(0))
    assert [one.score for one in second.members] == [5, 3]


def test_evolution_counts_a_molecule_once():
    same = [Member(f"k{k}", Atoms("C"), k, "CC") for k in range(3)]
    population = Evolution().updated(Population(), same, 3, RNG(0))
    assert [one.score for one in population.members] == [2]


def test_evolution_mixes_new_and_old():
    population = Population(tuple(members([3, 2, 1])))
    parents = Evolution(fresh=0.25).parents(population, 400, RNG(0))
    assert parents[:100] == [None] * 100
    keys = [one.key for one in parents[100:] if one]
    assert keys.count("m0") > keys.count("m1") > keys.count("m2") > 0


def test_tempering_of_equal_scores_is_none():
    assert tempering(np.ones(4), 0.5) == 0


def test_monte_carlo_does_not_go_back_from_good_to_bad():
    population = Population(tuple(members([10.0] * 4)), beta=100.0)
    worse = [Member("w", Atoms("C"), 1.0, "CW") for _ in range(4)]
    after = MonteCarlo().updated(population, worse, 4, RNG(0))
    assert {one.score for one in after.members} == {10.0}
    assert after.beta == 100.0


def test_monte_carlo_takes_what_is_better_and_keeps_what_got_nothing():
    population = Population(tuple(members([1.0, 1.0])), beta=0.0)
    offspring = [Member("b", Atoms("C"), 1.0, "CB"), None]
    after = MonteCarlo().updated(population, offspring, 2, RNG(0))
    assert [one.key for one in after.members] == ["b", "m1"]


def test_monte_carlo_without_any_score_starts_again():
    empty = MonteCarlo().updated(Population(), [None, None], 2, RNG(0))
    assert MonteCarlo().parents(empty, 2, RNG(0)) == [None, None]


def test_monte_carlo_reaches_the_tempered_distribution():
    """Prior: uniform on 0..9, which variants are drawn from; score: the number."""
    search, rng, n = MonteCarlo(effective_size=0.8), RNG(1), 2000
    population = Population()

    def drawn():
        return members(rng.integers(0, 10, n).astype(float).tolist())

    for _ in range(4):
        population = search.updated(population, drawn(), n, rng)
    scores = np.array([one.score for one in population.members])
    levels = np.arange(10)
    expected = np.exp(population.beta * levels)
    expected /= expected.sum()
    found = np.bincount(scores.astype(int), minlength=10) / n
    assert population.beta > 0.3
    assert np.abs(found - expected).max() < 0.05
