"""Find the weights of a model by its name or by the path of a checkpoint.

``registry.json`` beside this file names the shipped models; their weights are
safetensors files in ``weights/`` whose headers carry the model cards.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from equicalc.header import read_header

ROOT = Path(__file__).parent


@dataclass(frozen=True)
class Registry:
    """Names of models and where their weights are.

    Attributes
    ----------
    root : Path
        Folder that holds ``weights/``.
    default : str
        Name of the model that is meant when none is given.
    models : dict
        Name to ``{"file": name of the file in weights/, "summary": one line}``.
    """

    root: Path
    default: str
    models: dict[str, dict[str, str]]

    @classmethod
    def read(cls, root: Path = ROOT) -> Registry:
        """Read ``registry.json`` of a folder.

        Raises
        ------
        ValueError
            If the file is not a registry; it names the file.
        """
        file = root / "registry.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            return cls(root, content["default"], dict(content["models"]))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{file} is not a model registry ({error!r}): install equicalc again"
            ) from error

    def weights_path(self, model: str | Path | None = None) -> Path:
        """Return the checkpoint file of a model, see `weights_path`."""
        shipped = self.full_name(model)
        if shipped in self.models:
            return self._shipped(shipped)
        if model is None:
            raise FileNotFoundError(
                f"the default model {shipped!r} is not part of this installation: name "
                f"one of {self.names()}, give the file of a checkpoint, or train one "
                "with `equicalc train`"
            )
        if Path(model).is_file():
            return Path(model)
        name = str(model)
        close = get_close_matches(name, self.models, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise FileNotFoundError(
            f"no shipped model and no file is called {name!r}{hint} Shipped models: "
            f"{self.names()}"
        )

    def full_name(self, model: str | Path | None = None) -> str | None:
        """Return the name of the model that is meant, see `weights_path`.

        None is a file, or nothing that is known.
        """
        name = self.default if model is None else str(model)
        if name in self.models or model is None:
            return name
        if Path(model).is_file():
            return None
        begun = [known for known in self.models if known.startswith(f"{name}-")]
        return begun[0] if len(begun) == 1 else None

    def available(self) -> dict[str, dict[str, Any]]:
        """Return the cards of the models whose weights are there, see `available`."""
        cards = {}
        for name, entry in self.models.items():
            path = self.root / "weights" / entry["file"]
            if path.is_file():
                card = read_header(path)["card"]
                cards[name] = {"summary": entry.get("summary", ""), **card}
        return cards

    def names(self) -> str:
        """Names of the shipped models, for messages."""
        return ", ".join(sorted(self.models)) or "none"

    def _shipped(self, name: str) -> Path:
        path = self.root / "weights" / self.models[name]["file"]
        if not path.is_file():
            raise FileNotFoundError(
                f"the weights of {name!r} are missing, {path} does not exist: install "
                "equicalc again"
            )
        return path


def weights_path(model: str | Path | None = None) -> Path:
    """Return the checkpoint file of a model.

    Parameters
    ----------
    model : str or Path, optional
        Name of a shipped model, its beginning up to a hyphen if no other begins so
        (``"potential"``), or path of a checkpoint; the shipped default if omitted. A
        whole name goes before a file that is called the same.

    Raises
    ------
    FileNotFoundError
        If there is neither such a name nor such a file; it lists the names.

    Examples
    --------
    >>> weights_path("potential").name
    'potential-gfn2.safetensors'
    >>> weights_path("water")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FileNotFoundError: no shipped model and no file is called 'water'...
    """
    return Registry.read().weights_path(model)


def available() -> dict[str, dict[str, Any]]:
    """Return the model card of every shipped model, by name.

    Returns
    -------
    dict
        Name to card: level of theory, elements, cutoff in Angstrom, training data,
        licence, errors, the command that made it, and a one-line summary.

    Examples
    --------
    >>> isinstance(available(), dict)
    True
    """
    return Registry.read().available()
