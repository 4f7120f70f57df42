"""Generators of molecules and molecular geometries.

Nothing is here yet: the folder holds the place of equivariant autoregressive
generation, which will propose structures for the calculators to relax.
"""

if __name__ != "equicalc.generators":
    raise ImportError(
        "this folder is the package equicalc.generators: "
        "write 'import equicalc.generators'"
    )
