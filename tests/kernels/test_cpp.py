"""Compiling at run time: cached, shared, and never in the way."""

import logging

import pytest
import torch

from equicalc.kernels import SphericalHarmonics, cpp
from equicalc.kernels.spherical_harmonics import cpp_kernels, ops

SOURCE = 'extern "C" int answer() { return 42; }'
CACHES = (
    *(cpp.find_compiler, cpp.cache_directory, cpp.load_library, cpp._log_once),
    *(cpp_kernels._library, ops._kernels),
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own; nothing is remembered from other tests."""
    monkeypatch.setenv("EQUICALC_CACHE", str(tmp_path / "cache"))
    for function in CACHES:
        function.cache_clear()
    yield tmp_path / "cache"
    for function in CACHES:
        function.cache_clear()


@pytest.fixture
def compiler():
    if cpp.find_compiler() is None:
        pytest.skip("no C++ compiler")


def load():
    library = cpp.load_library(SOURCE)
    assert library is not None
    return library.answer()


def test_a_library_is_compiled_once(cache, compiler, monkeypatch):
    assert load() == 42
    cpp.load_library.cache_clear()
    monkeypatch.setattr(cpp, "_compile", lambda *_: pytest.fail("compiled twice"))
    assert load() == 42
    assert [file.suffix for file in cache.iterdir()] == [".so"]


def test_a_broken_cache_entry_is_compiled_again(cache, compiler):
    load()
    (built,) = cache.iterdir()
    cpp.load_library.cache_clear()
    built.unlink()  # a library in use must not be written over
    built.write_bytes(b"truncated")
    assert load() == 42


def test_other_flags_make_another_library(cache, compiler):
    load()
    assert cpp.load_library(SOURCE, ("-DOTHER",)) is not None
    assert len(list(cache.iterdir())) == 2


def test_subnormal_numbers_survive(cache, compiler):
    load()
    tiny = torch.tensor(1e-310, dtype=torch.float64)
    assert float(tiny * 0.5) > 0.0


@pytest.mark.parametrize("command", ["/nowhere/g++", "false"])
def test_without_a_compiler_torch_computes_after_one_log_line(
    command, cache, monkeypatch, caplog
):
    monkeypatch.setenv("CXX", command)
    x = torch.randn(4, 3)
    with caplog.at_level(logging.INFO):
        for ls in ([0, 1], [2], [0, 1]):
            y = SphericalHarmonics(ls, True)(x)
            torch.testing.assert_close(
                y, SphericalHarmonics(ls, True, backend="torch")(x)
            )
    (record,) = caplog.records
    assert "torch" in record.getMessage()
    with pytest.raises(RuntimeError, match="install g\\+\\+"):
        SphericalHarmonics([0, 1], True, backend="cpp")(x)


def test_an_unwritable_cache_is_replaced_after_one_log_line(
    cache, compiler, tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EQUICALC_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.INFO):
        assert load() == 42
        assert cpp.load_library(SOURCE + "\n") is not None
    (record,) = caplog.records
    assert "EQUICALC_CACHE" in record.getMessage()
