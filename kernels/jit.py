"""Load generated Triton.

Triton is imported here, when a kernel is first needed, and nowhere else: it comes with
CUDA builds of torch only.
"""

from __future__ import annotations

import functools
import importlib.util
import linecache
import os
from typing import Any

__all__ = ["available", "interpreted", "load_kernels"]


def available() -> bool:
    """Whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


def interpreted() -> bool:
    """Whether Triton interprets kernels on the CPU (``TRITON_INTERPRET=1``)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def load_kernels(source: str, title: str) -> tuple[dict[str, Any], Any]:
    """Execute Python source that defines Triton kernels.

    Parameters
    ----------
    source
        Code that finds the names ``triton`` and ``tl``.
    title
        Stands for the file name in tracebacks.

    Returns
    -------
    tuple
        The names that the source defines, and `triton.language`.

    Raises
    ------
    ImportError
        Without Triton.
    """
    try:
        import triton
        import triton.language as tl
    except ImportError as error:
        raise ImportError(
            "backend='triton' needs Triton: pip install \"equicalc[gpu]\""
        ) from error
    file = f"<equicalc {title}>"  # Triton reads the source of its functions back
    lines = source.splitlines(keepends=True)
    linecache.cache[file] = (len(source), None, lines, file)
    namespace: dict[str, Any] = {"triton": triton, "tl": tl, "__name__": __name__}
    exec(compile(source, file, "exec"), namespace)
    return namespace, tl
