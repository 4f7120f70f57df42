"""Kernels: fast operators on plain tensors; they know nothing of models."""

if __name__ != "equicalc.kernels":
    raise ImportError(
        "this folder is the package equicalc.kernels: write 'import equicalc.kernels'"
    )
