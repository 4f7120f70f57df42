"""MACE labels: the same energies as mace-torch's own calculator, and clear errors."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.io import read

from equicalc.checkpoint import save_checkpoint
from equicalc.crystals import MolecularCrystal, label_crystals, named_method
from equicalc.crystals.errors import UnknownElementError
from equicalc.crystals.mace import load_mace
from equicalc.models import Mace, MaceConfig

pytest.importorskip("mace", reason="mace-torch is not installed")

SHARED = os.environ.get("EQUICALC_MACE_DATA")
SMALL = MaceConfig(
    elements=(1, 6, 8),
    cutoff=3.5,
    channels=4,
    n_radial=4,
    reference_energies=(-13.0, -1000.0, -2000.0),
)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Mace(SMALL).eval()


@pytest.fixture(scope="module")
def ours(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mace")
    return save_checkpoint(folder / "small.safetensors", network, {})


@pytest.fixture(scope="module")
def theirs(network, tmp_path_factory):
    """The same network as mace-torch would write it."""
    from equicalc.kernels import unpatch

    path = tmp_path_factory.mktemp("mace") / "small.model"
    copy = Mace(SMALL)
    copy.load_state_dict(network.state_dict())
    unpatch(copy.network)
    torch.save(copy.network.double(), path)
    return path


@pytest.fixture(autouse=True)
def _properties_of_other_calculators(monkeypatch):
    """MACECalculator adds its own to the list of the base class of all calculators."""
    monkeypatch.setattr(Calculator, "implemented_properties", [])


@pytest.fixture(scope="module")
def crystal():
    pose = [4.5, 5, 5.5, 90, 100, 90, 0.2, 0.3, 0.1, 0.5, -0.4, 1.0]
    return MolecularCrystal.from_parameters(molecule("H2O"), 14, pose)


def test_energies_are_those_of_the_mace_calculator(theirs, crystal):
    from mace.calculators import MACECalculator

    before = torch.get_default_dtype()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calculator = MACECalculator(
                model_paths=str(theirs), device="cpu", default_dtype="float64"
            )
            structures = [crystal.to_atoms(), *crystal.molecules, molecule("CH3OH")]
            expected = []
            for atoms in structures:
                atoms.calc = calculator
                expected.append(atoms.get_potential_energy())
    finally:
        torch.set_default_dtype(before)
    labels = load_mace(f"mace:{theirs}+float64")
    found = labels.energies([atoms.copy() for atoms in structures])
    assert found == pytest.approx(expected, abs=1e-9)
    assert "float64" in labels.version


def test_lattice_energy_is_crystal_against_molecule(ours, crystal):
    labels = load_mace(f"mace:{ours}")
    whole, alone = labels.energies([crystal.to_atoms(), crystal.molecules[0]])
    result = labels.lattice_energy(crystal)
    assert result.interaction == pytest.approx((whole / 4 - alone) * 96.485, abs=0.01)
    assert result.strain == 0
    again = named_method(f"mace:{ours}").evaluate(crystal, None)
    assert again.energy == pytest.approx(result.energy, abs=1e-6)
    gas = crystal.molecules[0].copy()
    gas.positions *= 1.02
    posed = named_method(f"mace:{ours}").evaluate(crystal, gas)
    (reference,) = labels.energies([gas])
    assert posed.strain == pytest.approx((alone - reference) * 96.485, abs=0.01)


def test_batch_is_singles(ours, crystal):
    labels = load_mace(f"mace:{ours}+float64")
    structures = [crystal.to_atoms(), molecule("CH4"), crystal.molecules[0]]
    singles = [labels.energies([one])[0] for one in structures]
    assert labels.energies(structures) == pytest.approx(singles, abs=1e-9)


def test_calculator_has_matching_energy_and_stress(ours, crystal):
    labels = load_mace(f"mace:{ours}+float64")
    atoms = crystal.to_atoms()
    atoms.calc = labels.calculator()
    (energy,) = labels.energies([crystal.to_atoms()])
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-8)
    step, volume = 1e-4, atoms.get_volume()
    ends = []
    for sign in (1, -1):
        other = crystal.to_atoms()
        other.set_cell(other.cell * (1 + sign * step), scale_atoms=True)
        ends += [labels.energies([other])[0]]
    trace = np.trace(atoms.get_stress(voigt=False))
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(trace * volume, rel=1e-5)


def test_labels_record_hash_and_precision(ours, crystal, tmp_path):
    from ase.db import connect
    from ase.io import write

    write(tmp_path / "x.extxyz", [crystal.to_atoms()])
    name = f"mace:{ours}"
    (row,) = label_crystals([tmp_path / "x.extxyz"], tmp_path / "l.db", name, None)
    assert row.status == "ok"
    (stored,) = connect(tmp_path / "l.db").select()
    assert stored.method == name
    assert "float32" in stored.version
    assert "mace-torch" in stored.version
    assert load_mace(name).version == stored.version


def test_unknown_elements_are_named(ours):
    nitrogen = Atoms("N2", [[0, 0, 0], [1.1, 0, 0]], cell=[5, 5, 5], pbc=True)
    with pytest.raises(UnknownElementError, match=r"not know N.* knows H, C, O"):
        load_mace(f"mace:{ours}").energies([nitrogen])


def test_what_is_no_model_is_refused(tmp_path, monkeypatch, ours):
    (tmp_path / "bad.model").write_text("no pickle")
    torch.save({"a": 1}, tmp_path / "dict.model")
    with pytest.raises(ValueError, match="no model of mace-torch"):
        load_mace(f"mace:{tmp_path / 'bad.model'}")
    with pytest.raises(ValueError, match="holds a dict"):
        load_mace(f"mace:{tmp_path / 'dict.model'}")
    with pytest.raises(ValueError, match="neither a file nor a foundation model"):
        load_mace("mace:nothing")


@pytest.mark.parametrize("name", ["mace+d4", "mace+float64+half", "maces"])
def test_unknown_options_are_refused(name):
    with pytest.raises(ValueError, match=r"unknown; give mace, mace:NAME"):
        load_mace(name)


def test_options_have_no_order(monkeypatch, ours):
    monkeypatch.setattr("equicalc.crystals.mace._require_dftd3", lambda: None)
    one, other = (load_mace(f"mace:{ours}{o}") for o in ("+d3+float64", "+float64+d3"))
    assert one.version == other.version
    assert "float64" in one.version
    assert "D3" in one.version


def test_foundation_models_need_a_network_once(monkeypatch, caplog):
    from mace.calculators import foundations_models

    def offline(url):
        raise RuntimeError(f"no route to {url}")

    monkeypatch.setattr(foundations_models, "download_mace_mp_checkpoint", offline)
    with pytest.raises(ValueError, match=r"cannot be downloaded .*shipped one: mace"):
        load_mace("mace:off-small")
    assert "no commercial use" in caplog.text


def test_dispersion_names_what_is_missing(ours):
    try:
        import dftd3  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        with pytest.raises(ImportError, match="pip install dftd3"):
            load_mace(f"mace:{ours}+d3")
    else:
        water = molecule("H2O")
        plain, more = (load_mace(f"mace:{ours}{d}") for d in ("", "+d3"))
        assert more.energies([water])[0] < plain.energies([water])[0]


@pytest.mark.skipif(SHARED is None, reason="EQUICALC_MACE_DATA is not set")
def test_foreign_model(theirs):
    from mace.calculators import MACECalculator

    path = Path(str(SHARED)) / "model_swa.model"
    before = torch.get_default_dtype()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calculator = MACECalculator(str(path), device="cpu", default_dtype="float64")
    torch.set_default_dtype(before)
    file = Path(str(SHARED)) / "tutorial_maceTests" / "solvent_test.xyz"
    frames = read(file, "0:3")
    assert isinstance(frames, list)
    found = load_mace(f"mace:{path}+float64").energies(frames)
    for atoms, energy in zip(frames, found):
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-5)
