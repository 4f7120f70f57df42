"""Compile generated C++ at run time into a cache of shared libraries.

Nothing is compiled when the package is installed. `load_library` looks for a compiler
(``$CXX``, else ``g++`` or ``clang++``), compiles once per source, compiler, flags and
CPU, and returns None where that is impossible, so that callers fall back to torch.

The flags allow fused multiply-adds and vectorised square roots, but not
``-ffast-math``: with it GCC links start-up code that makes the whole process flush
subnormal numbers to zero as soon as the library is loaded.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from equicalc._cache import user_cache

__all__ = ["Recording", "cache_directory", "find_compiler", "invoke", "load_library"]

logger = logging.getLogger(__name__)

FLAGS = (
    *("-std=c++17", "-O3", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros"),
    "-ffp-contract=fast",
)
OPTIONAL_FLAGS = (("-march=native", "-fopenmp"), ("-march=native",), ())

if hasattr(os, "register_at_fork"):
    # GNU's OpenMP waits for ever in the child of a process that has used its threads
    os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


@functools.cache
def _log_once(message: str) -> None:
    logger.warning(message)


@functools.cache
def find_compiler() -> tuple[str, ...] | None:
    """Return the command of the C++ compiler, or None with one log line.

    ``$CXX`` may hold arguments (``ccache g++``). When it is set, nothing else is tried.
    """
    candidates = [shlex.split(os.environ.get("CXX", ""))]
    if not candidates[0]:
        candidates = [["g++"], ["clang++"]]
    for command in candidates:
        if shutil.which(command[0]):
            return tuple(command)
    _log_once(
        f"no C++ compiler found (tried {', '.join(c[0] for c in candidates)}): "
        "kernels run in torch; install g++ or clang++, or set CXX, to speed them up"
    )
    return None


@functools.cache
def cache_directory() -> Path:
    """Return a writable folder for compiled kernels.

    `equicalc._cache.user_cache`; if that cannot be written, a private temporary folder
    that goes when the process ends.
    """
    folder = user_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        private = Path(tempfile.mkdtemp(prefix="equicalc-"))
        atexit.register(shutil.rmtree, private, ignore_errors=True)
        _log_once(
            f"the kernel cache {folder} cannot be written ({error.strerror}): kernels "
            "are compiled anew in every process; set EQUICALC_CACHE to another folder"
        )
        return private


@functools.cache
def _machine() -> str:
    """Describe what ``-march=native`` depends on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    wanted = ("model name", "flags", "Features", "CPU part")
    described = dict(line.split(":", 1) for line in lines if line.startswith(wanted))
    return f"{platform.platform()} {platform.processor()} {sorted(described.items())}"


@functools.cache
def _version(compiler: tuple[str, ...]) -> str:
    return _run(*compiler, "--version").stdout


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


class Recording:
    """Calls that are made in a ``with`` block, to be made again with the same arrays.

    Arrays that went in may hold other numbers by then. What happens between the calls
    is not repeated: neither operators of torch nor new arrays, which is the point.

    Examples
    --------
    >>> import torch
    >>> add = "void add(long* x, long n) { for (long i = 0; i < n; i++) x[i] += n; }"
    >>> library, x = load_library(f'extern "C" {add}'), torch.zeros(2, dtype=torch.long)
    >>> if library:
    ...     with Recording() as calls:
    ...         invoke(library, "add", x, len(x))
    ...     calls.repeat()
    """

    def __init__(self) -> None:
        self._calls: list[tuple[Callable[..., None], list[int | None], object]] = []

    def __enter__(self) -> Self:
        self._token = _recording.set(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _recording.reset(self._token)

    def add(
        self, function: Callable[..., None], values: list[int | None], arrays: object
    ) -> None:
        """Note a call, and keep its arrays where they are."""
        self._calls.append((function, values, arrays))

    def repeat(self) -> None:
        """Make all calls again."""
        for function, values, _ in self._calls:
            function(*values)


_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)


def invoke(library: ctypes.CDLL, name: str, *arguments: Tensor | int | None) -> None:
    """Call a function of pointers to contiguous arrays, None for null, and of longs.

    Raises
    ------
    ValueError
        If an array is not contiguous.
    """
    function = getattr(library, name)
    if function.argtypes is None:
        function.restype = None
        function.argtypes = [
            ctypes.c_long if isinstance(a, int) else ctypes.c_void_p for a in arguments
        ]
    values: list[int | None] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            if not argument.is_contiguous():
                shape = f"an array of shape {tuple(argument.shape)}"
                raise ValueError(f"{shape} is not contiguous: call contiguous() on it")
            argument = argument.data_ptr()
        values.append(argument)
    function(*values)
    if recording := _recording.get():
        recording.add(function, values, arguments)


@functools.cache
def load_library(source: str, flags: tuple[str, ...] = ()) -> ctypes.CDLL | None:
    """Compile C++ source, or find it compiled, and load it.

    Parameters
    ----------
    source
        A whole translation unit; functions to be called are ``extern "C"``.
    flags
        Compiler flags in addition to the usual ones.

    Returns
    -------
    ctypes.CDLL or None
        None, and one log line, when there is no compiler or it fails.

    Examples
    --------
    >>> library = load_library('extern "C" int answer() { return 42; }')
    >>> library is None or library.answer() == 42
    True
    """
    compiler = find_compiler()
    if compiler is None:
        return None
    key = "\0".join([source, *compiler, _version(compiler), *FLAGS, *flags, _machine()])
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    path = cache_directory() / f"{name}.so"
    if path.exists():
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # truncated or foreign: compile it again
            logger.info("the compiled kernel %s is broken and is built anew", path)
    return ctypes.CDLL(str(path)) if _compile(compiler, source, flags, path) else None


def _compile(
    compiler: tuple[str, ...], source: str, flags: tuple[str, ...], path: Path
) -> bool:
    """Compile into a folder of its own, then rename: safe against other processes."""
    message = ""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            code, built = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
            code.write_text(source)
            for optional in OPTIONAL_FLAGS:
                files = str(code), "-o", str(built)
                done = _run(*compiler, *FLAGS, *optional, *flags, *files)
                if done.returncode == 0:
                    built.replace(path)
                    return True
                message = message or done.stderr.strip()
    except OSError as error:
        message = str(error)
    _log_once(f"{compiler[0]} cannot compile kernels, they run in torch: {message}")
    return False
