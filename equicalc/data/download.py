"""Public data sets, fetched once: resumable, checked, and whole or not there at all."""

import hashlib
import logging
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from equicalc.data.locking import locked

__all__ = ["FILES", "RemoteFile", "download", "fetch"]

log = logging.getLogger(__name__)

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 60.0  # seconds without any data


class RemoteFile(NamedTuple):
    """A file that someone publishes."""

    url: str
    md5: str
    name: str


_FIGSHARE = "https://ndownloader.figshare.com/files"

FILES: Mapping[str, RemoteFile] = MappingProxyType(
    {
        "qm9": RemoteFile(
            f"{_FIGSHARE}/3195389",
            "ad1ebd51ee7f5b3a6e32e974e5d54012",
            "dsgdb9nsd.xyz.tar.bz2",
        ),
        "qm9-uncharacterized": RemoteFile(
            f"{_FIGSHARE}/3195404",
            "a361887bacb427b8a0ce7903d92a53b4",
            "uncharacterized.txt",
        ),
    }
)
"""What `fetch` knows, with the checksums that figshare publishes."""


def fetch(name: str, folder: str | Path) -> Path:
    """Download a file of `FILES`, unless it is there.

    Parameters
    ----------
    name
        One of `FILES`.
    folder
        Where to put it.

    Returns
    -------
    Path
        For `equicalc.data.qm9.read_qm9` or `read_uncharacterized`.

    Raises
    ------
    ValueError
        If the name is unknown, or what came is not the published file.
    ConnectionError
        If the server cannot be reached. What came so far is kept.
    """
    if name not in FILES:
        raise ValueError(f"unknown file {name!r}; known: {', '.join(FILES)}")
    remote = FILES[name]
    return download(remote.url, Path(folder) / remote.name, remote.md5)


def download(url: str, path: str | Path, md5: str) -> Path:
    """Download a file whose checksum is known, continuing where an earlier try ended.

    Parameters
    ----------
    url
        Where it is.
    path
        Where to put it. It appears there when it is whole; until then its beginning
        is kept beside it as ``.part``.
    md5
        Of the whole file. It guards against damage on the way.

    Returns
    -------
    Path
        The path, which is left alone if it holds that very file.

    Raises
    ------
    ValueError
        If the checksum of what is there, or of what came, is another one, or another
        process downloads the file.
    ConnectionError
        If the server cannot be reached or breaks off.
    """
    path = Path(path)
    if path.exists():
        if _md5(path) == md5:
            return path
        raise ValueError(
            f"{path} is there, but is not the file at {url}; remove it and try again"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        part = path.with_name(path.name + ".part")
        if not (part.exists() and _md5(part) == md5):
            _continue(url, part)
        found = _md5(part)
        if found != md5:
            part.unlink()
            raise ValueError(
                f"{url} gave a file with the checksum {found}; {md5} was expected. It "
                "was removed: try again"
            )
        return part.rename(path)


def _continue(url: str, part: Path) -> None:
    """Append to a file what it still lacks."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"})
    log.info("downloading %s, from byte %d on", url, start)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            expected = answer.headers.get("Content-Length")
            before = start if answer.status == 206 else 0  # else the server ignores it
            with part.open("ab" if before else "wb") as file:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
            missing = int(expected or 0) - (part.stat().st_size - before)
            if missing > 0:
                raise ConnectionError(f"the last {missing} bytes did not come")
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing lies beyond the end: let the checksum decide
            raise ConnectionError(_advice(url, error, part)) from error
    except OSError as error:
        raise ConnectionError(_advice(url, error, part)) from error


def _advice(url: str, error: OSError, part: Path) -> str:
    return (
        f"{url} cannot be downloaded ({error}). Try again and it goes on where it "
        f"ended, or download it elsewhere and put it at {part.with_suffix('')}"
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.md5(usedforsecurity=False)
        ).hexdigest()
