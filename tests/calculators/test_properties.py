"""A network of properties answers for any structures, alone or together."""

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import CalculatorSetupError, InputError

from equicalc import PropertyPredictor
from equicalc.models import QM9Net, QM9NetConfig

NAMES = ("H2O", "CH4", "CH3OH", "CO2")


@pytest.fixture
def predictor():
    config = QM9NetConfig(
        elements=(1, 6, 8),
        targets=("mu", "gap"),
        cutoff=4.0,
        n_radial=4,
        radial_hidden=(4,),
        embedding=4,
        multiplicities=(4, 2),
        layers=1,
        scales=(2.0, 3.0),
    )
    return PropertyPredictor(QM9Net(config).double(), batch_size=3)


def test_properties_have_names_and_units(predictor):
    assert predictor.units == {"mu": "Debye", "gap": "eV"}
    assert predictor.predict(molecule("H2O")).keys() == {"mu", "gap"}


def test_many_are_each_of_them(predictor):
    structures = [molecule(name) for name in NAMES]
    together = predictor.predict(structures)
    for k, atoms in enumerate(structures):
        for name, value in predictor.predict(atoms).items():
            assert value == pytest.approx(together[name][k], abs=1e-10)
    assert np.unique(together["mu"]).size == len(NAMES)


def test_place_and_orientation_do_not_matter(predictor):
    atoms = molecule("CH3OH")
    turned = atoms.copy()
    turned.rotate(70, (1, 2, 3))
    turned.translate((5, 0, 0))
    a, b = predictor.predict(atoms), predictor.predict(turned)
    assert a == pytest.approx(b, abs=1e-9)


def test_nothing_is_predicted_of_what_it_does_not_know(predictor):
    with pytest.raises(InputError, match=r"structure 1.*Cl"):
        predictor.predict([molecule("H2O"), molecule("HCl")])
    with pytest.raises(InputError, match="at least one"):
        predictor.predict([])
    with pytest.raises(InputError, match="batch_size is 0"):
        PropertyPredictor(predictor.model, batch_size=0)


def test_other_networks_are_refused(network):
    with pytest.raises(CalculatorSetupError, match="Potential does not predict"):
        PropertyPredictor(network)


def test_ions_and_crystals_are_refused_as_by_the_calculator(predictor):
    ion, boxed = molecule("H2O"), molecule("H2O")
    ion.info["charge"] = -1
    boxed.set_cell([9, 9, 9])
    boxed.pbc = True
    with pytest.raises(InputError, match=r"structure 1: .* charge -1"):
        predictor.predict([molecule("H2O"), ion])
    with pytest.raises(InputError, match=r"structure 1: .* molecules only: set atoms"):
        predictor.predict([molecule("H2O"), boxed])
