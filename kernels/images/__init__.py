"""What atoms of a molecule see of the images of molecules in a crystal."""

from .pairs import compiled_pairs
from .sums import Pairs, RadialSums, Sums, add_up

__all__ = ["Pairs", "RadialSums", "Sums", "add_up", "compiled_pairs"]
