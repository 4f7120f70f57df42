"""Configurations are checked, and every mistake is named."""

import sys

import pytest
import yaml

from equicalc.design import Design, Relax, Top, load_design
from equicalc.design.imports import imported


@pytest.fixture
def load(tmp_path):
    def load(**content):
        path = tmp_path / "loop.yaml"
        path.write_text(yaml.safe_dump({"output": "run", "steps": ["valid"]} | content))
        return load_design(path)

    return load


def test_the_example_is_valid():
    from pathlib import Path

    folder = Path(__file__).parents[2] / "examples" / "configs"
    design = load_design(folder / "loop.yaml")
    assert {"valid", "relax", "pack"} <= {
        name for step in design.choices()["steps"] for name in step
    }


def test_steps_are_names_or_names_with_options(load):
    design = load(steps=["unique", {"relax": {"fmax": 0.1}}, {"top": {"n": 2}}])
    assert design.steps[1:] == (Relax(fmax=0.1), Top(n=2))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"sede": 1}, "sede: unknown key"),
        ({"rounds": 0}, "rounds: .*greater than or equal to 1, given 0"),
        ({"steps": ["relx"]}, "steps: 1: unknown name 'relx'; did you mean 'relax'?"),
        ({"steps": [{"relax": {"fmx": 1}}]}, "steps: 1, relax: fmx: unknown key"),
        ({"steps": ["valid", "top"]}, "steps: 2, top: n: missing"),
        ({"steps": []}, "steps: give a list of at least one step"),
        ({"steps": [{"a": 1, "b": 2}]}, "one name with its options"),
        ({"search": "evolve"}, "search: unknown name 'evolve'"),
        ({"source": {"generator": {"modl": "x"}}}, "unknown key"),
        ({"steps": ["os:getcwd"]}, "os:getcwd is no Step"),
        ({"steps": ["no.such:Thing"]}, "no.such:Thing: No module"),
        ({"steps": [{"score": {"function": "no.such:score"}}]}, "No module named 'no'"),
        ({"steps": [{"score": {"function": "math:pi"}}]}, "math:pi cannot be called"),
        ({"steps": [{"score": {"function": "pi"}}]}, "'pi': give package.module:name"),
        ({"steps": [{"pack": {"spacegroups": [0]}}]}, "spacegroups.0: .*given 0"),
        (
            {"steps": [{"novel": {"known": "none.smi"}}]},
            "known: .* not point to",
        ),
        (
            {"source": {"files": {"paths": ["no.smi"]}}},
            "paths.0: .* not point to",
        ),
    ],
)
def test_mistakes_are_named(load, content, complaint):
    with pytest.raises(ValueError, match=complaint):
        load(**content)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ValueError, match="must hold keys and values"):
        load_design(tmp_path / "list.yaml")
    with pytest.raises(ValueError, match="there is no file"):
        load_design(tmp_path / "missing.yaml")


def test_choices_make_the_same_design_again(toy, tmp_path):
    design = toy.design(tmp_path)
    again = Design.model_validate({"output": tmp_path, **design.choices()})
    assert again.choices() == design.choices()


def test_what_a_user_wrote_is_found_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_scores.py").write_text("def score(structures):\n    return []\n")
    assert imported("own_scores:score")([]) == []
    assert sys.path[-1] == str(tmp_path)  # after all that is installed
    with pytest.raises(ValueError, match="no attribute 'other'"):
        imported("own_scores:other")
