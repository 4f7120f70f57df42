"""Configuration files: YAML without surprises, of bounded size."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from equicalc.data.damage import naming

__all__ = ["read_yaml"]

# A configuration has dozens of keys; aliases of aliases make billions out of ten lines.
_MOST_BYTES = 1 << 20
_MOST_NODES = 100_000


def read_yaml(path: str | Path) -> tuple[dict[str, Any], yaml.MappingNode]:
    """Read a file of keys and values. No tag in it creates an object.

    Parameters
    ----------
    path
        A YAML file.

    Returns
    -------
    content, node
        The values, and where in the file they stand.

    Raises
    ------
    ValueError
        If it cannot be read, is not YAML, holds no keys, repeats a key, or is larger
        than any configuration.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "run.yaml"
    >>> _ = file.write_text("output: run")
    >>> content, node = read_yaml(file)
    >>> content, node.value[0][0].start_mark.line
    ({'output': 'run'}, 0)
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    with naming(path, "is not YAML that can be read"):
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ValueError(f"{size} bytes; a configuration has less")
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _count(node, {})
        content = yaml.safe_load(text)
    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{path} must hold keys and values, such as `output: run`")
    return content, node


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Count what a node holds when all aliases are written out.

    Raises
    ------
    ValueError
        If it is too much, holds itself or has a key twice.
    """
    if id(node) in known:
        if not known[id(node)]:
            raise ValueError(f"line {node.start_mark.line + 1} refers to itself")
        return known[id(node)]
    known[id(node)] = 0  # open
    total = 1
    for child in _children(node):
        total += _count(child, known)
        if total > _MOST_NODES:
            raise ValueError(
                f"more than {_MOST_NODES} values; a configuration has less"
            )
    known[id(node)] = total
    return total


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return node.value
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    if twice := [key for key, times in Counter(keys).items() if times > 1]:
        line = node.start_mark.line + 1
        raise ValueError(f"the keys from line {line} on have {twice[0]!r} twice")
    return [child for pair in node.value for child in pair]
