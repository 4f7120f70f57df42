"""Cross-compilation of Triton kernels on a machine without a GPU."""

import re
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def sm_90_usage(tmp_path, monkeypatch):
    """Compile a kernel for sm_90; return its registers and bytes of stack."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def usage(function, signature, constants, options):
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        pointers = [k for k, t in enumerate(signature.values()) if t.startswith("*")]
        compiled = triton.compile(
            ASTSource(
                function,
                {**signature, **dict.fromkeys(constants, "constexpr")},
                constants,
                {(k,): [["tt.divisibility", 16]] for k in pointers},
            ),
            target=GPUTarget("cuda", 90, 32),
            options=options,
        )
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        cubin = tmp_path / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        report = subprocess.run(
            [tool, "-res-usage", cubin], capture_output=True, text=True, check=True
        ).stdout
        found = dict(re.findall(r"(\w+):(\d+)", report))
        return int(found["REG"]), int(found["STACK"])

    return usage
