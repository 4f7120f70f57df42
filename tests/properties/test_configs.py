"""Configurations: what is written comes back, what is unknown is named."""

import dataclasses
import json
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from equicalc.design import load_design
from equicalc.labelling import load_options
from equicalc.training import config_from_dict, load_config

names = st.text("abcdefghij_-./ 0", min_size=1, max_size=8).filter(str.strip)
positive = st.floats(1e-6, 1e6)
counts = st.integers(1, 10**6)


def some(**optional):
    """Any of these keys, each left out at times."""
    return st.fixed_dictionaries({}, optional=optional)


trainings = st.fixed_dictionaries(
    {
        "output": names,
        "data": st.fixed_dictionaries(
            {"train": names},
            optional={
                "valid": names,
                "n_train": counts,
                "max_force": st.none() | positive,
                "fractions": st.just({"train": 0.5, "valid": 0.25}),
            },
        ),
        "stop": st.fixed_dictionaries({"max_epochs": counts}),
    },
    optional={
        "seed": st.integers(0, 2**31),
        "model": some(
            channels=st.sampled_from([4, 8]),
            layers=st.integers(1, 3),
            ls=st.sampled_from([[0, 1], [0, 1, 2]]),
            cutoff=st.floats(1, 10),
        ),
        "optimizer": some(lr=positive, batch_size=counts),
        "loss": some(energy=positive, forces=positive, kind=st.just("huber")),
        "card": st.dictionaries(names, names, max_size=3),
    },
)
designs = st.fixed_dictionaries(
    {
        "output": names,
        "steps": st.lists(
            st.sampled_from(
                [
                    "valid",
                    "unique",
                    {"top": {"n": 3, "by": "score"}},
                    {"synthesizable": {"at_most": 4.5}},
                    {"pack": {"spacegroups": [2, 14], "n": 2}},
                ]
            ),
            min_size=1,
        ),
    },
    optional={
        "seed": st.integers(0, 2**31),
        "rounds": counts,
        "molecules": counts,
        "search": st.just({"evolution": {"survivors": 2, "fresh": 0.5}}),
    },
)
labellings = st.fixed_dictionaries(
    {
        "out": names,
        "sources": st.lists(
            st.fixed_dictionaries({"path": names}, optional={"frames": counts}),
            min_size=1,
            max_size=3,
        ),
    },
    optional={"seed": counts, "dimers": counts, "max_force": positive},
)


def from_file(load, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.yaml"
        path.write_text(yaml.safe_dump(content))
        return load(path)


def plain(config):
    return json.loads(json.dumps(dataclasses.asdict(config)))


@given(trainings)
def test_training_comes_back(content):
    config = from_file(load_config, content)
    assert config == config_from_dict(content)
    assert from_file(load_config, plain(config)) == config
    for key, value in content["data"].items():
        assert getattr(config.data, key) == value


@given(designs)
def test_design_comes_back(content):
    design = from_file(load_design, content)
    again = from_file(load_design, json.loads(design.model_dump_json()))
    assert again == design
    assert again.choices() == design.choices()
    assert len(design.steps) == len(content["steps"])


@given(labellings)
def test_labelling_comes_back(content):
    options = from_file(load_options, content)
    assert from_file(load_options, plain(options)) == options
    assert [source.path for source in options.sources] == [
        source["path"] for source in content["sources"]
    ]


@given(
    st.sampled_from([(load_config, trainings), (load_design, designs)]).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), pair[1])
    ),
    st.text("qxyz", min_size=5, max_size=9),
    st.one_of(st.integers(), st.text(), st.lists(st.integers()), st.none()),
)
def test_unknown_keys_are_named(loaded, key, value):
    load, content = loaded
    with pytest.raises(ValueError, match=rf"a\.yaml[\s\S]*{key}: unknown key"):
        from_file(load, content | {key: value})


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=10,
), st.sampled_from([load_config, load_design, load_options]))  # fmt: skip
def test_any_yaml_is_refused_by_an_error_that_names_the_file(content, load):
    with pytest.raises(ValueError, match=r"a\.yaml"):
        from_file(load, content)
