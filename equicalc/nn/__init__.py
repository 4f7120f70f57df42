"""Building blocks of the networks, independent of any one model."""
