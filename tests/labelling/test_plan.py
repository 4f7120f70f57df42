"""Plans and their options."""

from dataclasses import replace
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write

pytest.importorskip("rdkit")

from equicalc.data.smiles import canonical
from equicalc.labelling import LabelOptions, Source, load_options
from equicalc.labelling.plan import CORE_GROUP, make_plan

CONFIGS = Path(__file__).parents[2] / "configs"
SMILES = ["CCO", "C[C@H](N)O", "C[C@@H](N)O", "CCN", "c1ccccc1", "CC=O", "CF", "OCC"]


@pytest.fixture
def options(tmp_path):
    core, others = tmp_path / "core.smi", tmp_path / "others.smi"
    core.write_text("O\nC\nN\n")
    others.write_text("\n".join(SMILES))
    sources = (Source(str(core), core=True), Source(str(others), frames=4))
    return LabelOptions(
        sources, str(tmp_path / "out"), dimers=40, clusters=10, crowds=7, diatomics=3
    )


def test_same_options_same_plan(options):
    assert make_plan(options) == make_plan(options)
    other = make_plan(replace(options, seed=1))
    assert other.fingerprint != make_plan(options).fingerprint


def test_other_groups_are_another_plan(options):
    core = options.sources[0]
    alone = replace(options, sources=(core,), dimers=0, clusters=0, crowds=0)
    now = make_plan(alone)
    other = make_plan(replace(alone, sources=(replace(core, core=False),)))
    assert other.fingerprint == now.fingerprint  # the same structures
    assert other.groups != now.groups


def test_variables_in_paths_are_expanded(options, tmp_path, monkeypatch):
    monkeypatch.setenv("MOLECULES", str(tmp_path))
    named = tuple(
        replace(s, path=s.path.replace(str(tmp_path), "${MOLECULES}"))
        for s in options.sources
    )
    assert all(s.path.startswith("${MOLECULES}") for s in named)
    assert make_plan(replace(options, sources=named)) == make_plan(options)


def test_all_kinds_of_work_are_planned(options):
    units = make_plan(options).units
    count = {
        kind: sum(u.kind == kind for u in units) for kind in {u.kind for u in units}
    }
    assert count == {
        "molecule": 10, "dimer": 40, "cluster": 10, "crowd": 7,
        "atom": 1, "diatomic": 28,
    }  # fmt: skip
    assert [unit.index for unit in units] == list(range(len(units)))


def test_no_molecule_is_in_two_groups_but_the_core(options):
    groups: dict[str, set[int]] = {}
    for unit in make_plan(options).units:
        if unit.kind in ("molecule", "dimer", "cluster", "crowd"):
            for member in unit.members:
                key = canonical(str(member), stereo=False)
                groups.setdefault(key, set()).add(unit.group)
    core = {"O", "C", "N"}
    assert all(len(found) == 1 for key, found in groups.items() if key not in core)
    assert all(
        CORE_GROUP not in found for key, found in groups.items() if key not in core
    )
    assert any(len(groups[key]) > 1 for key in core)


def test_unfit_molecules_are_rejected_with_the_reason(options, tmp_path):
    bad = ["C1CC", "CBr", "[Na+].[Cl-]", "CC(=O)[O-]", "[CH3]", "C" * 13, "CC"]
    (tmp_path / "bad.smi").write_text("\n".join(bad))
    plan = make_plan(replace(options, sources=(Source(str(tmp_path / "bad.smi")),)))
    reasons = [(r.name, r.reason) for r in plan.rejected]
    for (name, reason), part in zip(
        reasons,
        ["valid SMILES", "Br", "more than one", "charge -1", "unpaired", "13 heavy"],
        strict=True,
    ):
        assert name in bad
        assert part in reason


def test_structures_are_planned_too(options, tmp_path):
    file = tmp_path / "a.xyz"
    write(file, [molecule("CH3OH"), molecule("CH3OH"), molecule("H2O")])
    plan = make_plan(replace(options, sources=(Source(str(file)),), dimers=2))
    assert sum(unit.kind == "molecule" for unit in plan.units) == 2  # one was double
    assert {u.name for u in plan.units if u.kind == "molecule"} == {"CH4O", "H2O"}


def test_a_structure_is_in_the_group_of_its_smiles(options, tmp_path):
    write(tmp_path / "a.xyz", molecule("CH3CH2OH"))
    (tmp_path / "a.smi").write_text("CCO\n")
    sources = [Source(str(tmp_path / name)) for name in ("a.xyz", "a.smi")]
    alone = replace(options, dimers=0, clusters=0, crowds=0, diatomics=0)
    groups = {
        unit.group
        for one in sources
        for unit in make_plan(replace(alone, sources=(one,))).units
        if unit.kind == "molecule"
    }
    assert len(groups) == 1


def test_fragments_are_cut_from_smiles_only(options, tmp_path):
    write(tmp_path / "a.xyz", molecule("CH3OH"))
    source = Source(str(tmp_path / "a.xyz"), fragments=True)
    with pytest.raises(ValueError, match=r"a\.xyz holds structures"):
        make_plan(replace(options, sources=(source,)))


def test_structures_with_a_charge_or_spin_are_rejected(options, tmp_path):
    file = tmp_path / "a.extxyz"
    hydroxide, ion = Atoms("OH", [[0, 0, 0], [0.96, 0, 0]]), Atoms("Cl")
    hydroxide.info["charge"] = -1
    ion.set_initial_charges([-1.0])
    broken = molecule("H2O")
    broken.info["charge"] = "unknown"
    write(file, [hydroxide, ion, molecule("NO"), broken, molecule("H2O")])
    plan = make_plan(LabelOptions((Source(str(file)),), str(tmp_path / "out")))
    reasons = [r.reason for r in plan.rejected]
    assert reasons[:2] == ["charge -1, 0 unpaired electrons"] * 2
    assert "1 unpaired" in reasons[2]
    assert "'unknown'" in reasons[3]
    assert [u.name for u in plan.units if u.kind == "molecule"] == ["H2O"]


@pytest.mark.parametrize(
    ("smiles", "asked"),
    [("c1ccccc1", "dimers"), ("CCCC", "clusters"), ("CCCCCCCC", "dimers")],
)
def test_molecules_too_large_for_pairs_or_clusters_are_an_error(
    tmp_path, smiles, asked
):
    (tmp_path / "one.smi").write_text(smiles)
    sources = (Source(str(tmp_path / "one.smi")),)
    options = replace(LabelOptions(sources, str(tmp_path / "out")), **{asked: 2})
    with pytest.raises(ValueError, match=f"{asked} = 2, but only 0 were found"):
        make_plan(options)


def test_plans_of_earlier_versions_are_the_same(options):
    """Else their runs could not be resumed."""
    fingerprint = make_plan(
        replace(options, dimers=400, clusters=100, crowds=0)
    ).fingerprint
    assert fingerprint.startswith("cdb1b3ae26308659")


@pytest.mark.parametrize(
    "file", sorted(CONFIGS.glob("label-*.yaml")), ids=lambda f: f.name
)
def test_configurations_of_the_repository_are_valid(file):
    assert load_options(file).out == f"runs/{file.stem.replace('label', 'labels')}"


def test_limits_of_a_source(options):
    core, others = options.sources
    small = replace(others, max_heavy_atoms=2)
    assert len(_molecules(replace(options, sources=(small,)))) == 1
    few = replace(others, limit=3)
    assert len(_molecules(replace(options, sources=(core, few)))) <= 6


def _molecules(options):
    return [unit for unit in make_plan(options).units if unit.kind == "molecule"]


@pytest.mark.parametrize(
    ("name", "content"), [("no.smi", None), ("no.xyz", None), ("bad.xyz", "x\ny\nz")]
)
def test_unreadable_sources_are_named(options, tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=r"can(not)? be read|no file") as caught:
        make_plan(replace(options, sources=(Source(str(tmp_path / name)),)))
    assert name in str(caught.value)


def test_nothing_left_is_an_error(options, tmp_path):
    (tmp_path / "bad.smi").write_text("C1CC\n")
    with pytest.raises(ValueError, match=r"no molecule is left.*C1CC"):
        make_plan(replace(options, sources=(Source(str(tmp_path / "bad.smi")),)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ()}, "no sources"),
        ({"dimers": -1}, "dimers = -1"),
        ({"timeout": 0.0}, "timeout"),
    ],
)
def test_impossible_options_are_refused(options, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(options, **changes)


def test_options_from_yaml(tmp_path):
    file = tmp_path / "label.yaml"
    file.write_text("out: here\nsources:\n  - {path: a.smi, frames: 3}\n")
    assert load_options(file) == LabelOptions((Source("a.smi", frames=3),), "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("out: a\nsources: [{path: b}]\ndimer: 3", "did you mean 'dimers'"),
        ("out: a\nsources: [{path: b, frame: 3}]", "did you mean 'frames'"),
        ("out: a\nsources: [{path: b, frames: many}]", "sources.0.frames.*'many'"),
        ("sources: [{path: b}]", "out"),
        ("out: a\nsources: []", "no sources"),
        ("- a", "keys and values"),
        ("a: [", "is not YAML"),
    ],
)
def test_bad_yaml_is_explained(tmp_path, text, message):
    file = tmp_path / "label.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_options(file)
    assert "label.yaml" in str(caught.value)
