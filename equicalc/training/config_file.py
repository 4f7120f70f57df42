"""Read a training configuration from YAML and check it."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args, get_type_hints

import yaml

from equicalc.data.yaml_files import read_yaml
from equicalc.models import MODELS
from equicalc.training.config import LOSS_TERMS, TrainConfig
from equicalc.training.limits import RangeError, require_positive
from equicalc.training.tasks import TASKS

#: Fields of any model's configuration that are sizes or scales.
_POSITIVE = {
    "cutoff", "channels", "layers", "n_radial", "avg_neighbors", "energy_scale"
}  # fmt: skip


def load_config(path: str | Path, changes: dict[str, Any] | None = None) -> TrainConfig:
    """Read and check a training configuration.

    Parameters
    ----------
    path
        A YAML file; see `TrainConfig` and its parts for the keys.
    changes
        Keys that go before those of the file, nested as there.

    Returns
    -------
    TrainConfig

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not YAML, has an unknown key (the nearest known one is named), or a
        value of the wrong type. The message gives file, line and key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}")
    content, node = read_yaml(path)
    content = _changed(content, changes or {})
    problems = list(_problems(content))
    if problems:
        lines = [
            f"{path}:{_line(node, where)}: {'.'.join(where)}: {what}"
            for where, what in problems
        ]
        raise ValueError("\n".join(lines))
    return _validated(TrainConfig, content)


def _changed(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a file with some keys of its sections replaced.

    Examples
    --------
    >>> _changed({"stop": {"max_steps": 5}}, {"stop": {"max_time": 60}})
    {'stop': {'max_steps': 5, 'max_time': 60}}
    """
    changed = dict(content)
    for key, value in changes.items():
        if isinstance(value, dict):
            section = content.get(key)
            value = (section if isinstance(section, dict) else {}) | value
        changed[key] = value
    return changed


def config_from_dict(content: dict[str, Any]) -> TrainConfig:
    """Check a nested dictionary and turn it into a configuration.

    Raises
    ------
    ValueError
        As `load_config`, without file and line.

    Examples
    --------
    >>> config_from_dict({"output": "run", "data": {"trian": "set"}})
    Traceback (most recent call last):
    ValueError: data.trian: unknown key; did you mean 'train'?
    data.train: missing
    """
    problems = [f"{'.'.join(where)}: {what}" for where, what in _problems(content)]
    if problems:
        raise ValueError("\n".join(problems))
    return _validated(TrainConfig, content)


def completed(content: dict[str, Any]) -> TrainConfig:
    """Return a configuration that an earlier version wrote, with defaults since added.

    Raises
    ------
    ValueError
        If it has a key that is unknown now; it is named.
    """
    for where, what in _unknown_keys(TrainConfig, content, ()):
        raise ValueError(f"{'.'.join(where)}: {what}")
    return _validated(TrainConfig, content)


Problem = tuple[tuple[str, ...], str]


def _problems(content: dict[str, Any]) -> Iterator[Problem]:
    """Yield key path and complaint: unknown keys, then values, then combinations."""
    unknown = list(_unknown_keys(TrainConfig, content, ()))
    yield from unknown
    ignored = {where for where, _ in unknown}
    wrong = [p for p in _wrong_values(TrainConfig, content) if p[0] not in ignored]
    yield from wrong
    if not unknown and not wrong:
        yield from _model_problems(content)
        yield from _loss_problems(content)
        yield from _stop_problems(content)


def _unknown_keys(
    kind: type, content: dict[str, Any], where: tuple[str, ...]
) -> Iterator[Problem]:
    known = get_type_hints(kind)
    for key, value in content.items():
        if key not in known:
            yield (*where, str(key)), _did_you_mean(str(key), list(known))
        elif isinstance(value, dict):
            for part in get_args(known[key]) or (known[key],):  # one, or one or None
                if dataclasses.is_dataclass(part):
                    yield from _unknown_keys(cast(type, part), value, (*where, key))


def _did_you_mean(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    return f"unknown key; known are {', '.join(known)}"


def _validated(kind: type, content: dict[str, Any]) -> Any:
    return _adapter(kind).validate_python(content)


@cache
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _wrong_values(kind: type, content: dict[str, Any]) -> Iterator[Problem]:
    from pydantic import ValidationError

    try:
        _validated(kind, content)
    except ValidationError as error:
        seen = set()
        for item in error.errors():
            fields = tuple(str(part) for part in item["loc"])
            where = _named_part(fields, content)
            if where in seen:
                continue
            seen.add(where)
            if item["type"] in ("missing", "missing_argument"):
                yield where, "missing"
            elif item["type"] == "value_error":
                yield _from_check(where, item.get("ctx", {})["error"])
            else:
                message = item["msg"].lower().replace("a valid tuple", "a list")
                yield where, f"{message}, given {item['input']!r}"


def _from_check(where: tuple[str, ...], error: ValueError) -> Problem:
    """Key path and complaint of a configuration's own check."""
    if not isinstance(error, RangeError):
        return where, str(error)
    return (*where, error.name), str(error).partition(" = ")[2]


def _named_part(fields: tuple[str, ...], content: Any) -> tuple[str, ...]:
    """Cut pydantic's location after the last key that the file (or a class) has."""
    where: list[str] = []
    for part in fields:
        where.append(part)
        if not isinstance(content, dict) or part not in content:
            break
        content = content[part]
        if not isinstance(content, dict):
            break
    return tuple(where)


def _model_problems(content: dict[str, Any]) -> Iterator[Problem]:
    task, given = content.get("task", "potential"), content.get("model") or {}
    if task not in TASKS:
        yield ("task",), f"unknown model {task!r}; known are {', '.join(TASKS)}"
        if task in ("lattice", "lattice-paper"):
            yield ("task",), "import equicalc.crystals.tasks adds it"
        return
    kind = MODELS[task][0]
    unknown = list(_unknown_keys(kind, given, ("model",)))
    yield from unknown
    if not unknown:
        wrong = list(_wrong_values(kind, _from_run(task, content) | given))
        for where, what in wrong or _not_positive(given):
            yield ("model", *where), what


def _from_run(task: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return legal values of a model's fields that come from data and losses."""
    energies = (content.get("model") or {}).get("reference_energies")
    n_elements = len(energies) if isinstance(energies, list | tuple) else 2
    fields: dict[str, Any] = {"elements": tuple(range(1, (n_elements or 2) + 1))}
    run = _validated(TrainConfig, content)
    if task == "potential":
        fields["dipole"] = run.loss.electric
    if run.properties.targets:
        fields["targets"] = tuple(run.properties.targets)
    return fields


def _not_positive(given: dict[str, Any]) -> Iterator[Problem]:
    """Yield the sizes and scales of a model that are not above 0."""
    sizes = SimpleNamespace(**{key: given[key] for key in _POSITIVE & given.keys()})
    for name in vars(sizes):
        try:
            require_positive(sizes, name)
        except RangeError as error:
            yield _from_check((), error)


def _loss_problems(content: dict[str, Any]) -> Iterator[Problem]:
    kind = content.get("loss", {}).get("kind", {})
    if isinstance(kind, dict):
        for term in kind.keys() - set(LOSS_TERMS):
            yield ("loss", "kind", term), _did_you_mean(term, list(LOSS_TERMS))
    if not _validated(TrainConfig, content).loss.weights():
        yield ("loss",), "no term has a positive weight: nothing to train on"


def _stop_problems(content: dict[str, Any]) -> Iterator[Problem]:
    stop = _validated(TrainConfig, content).stop
    if not stop.counted and stop.max_time is None:
        yield ("stop",), "give max_epochs, max_steps or max_time"


def _line(node: Any, where: tuple[str, ...]) -> int:
    """Return the line of a key, or of the nearest enclosing key that is there."""
    line = 1
    for part in where:
        if not isinstance(node, yaml.MappingNode):
            break
        found = [(k, v) for k, v in node.value if k.value == part]
        if not found:
            break
        line = found[0][0].start_mark.line + 1
        node = found[0][1]
    return line
