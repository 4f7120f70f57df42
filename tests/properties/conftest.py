"""How thoroughly properties are tried: EQUICALC_PROPERTIES=thorough for more."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fast",
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough", settings.get_profile("fast"), max_examples=500, derandomize=False
)
settings.load_profile(os.environ.get("EQUICALC_PROPERTIES", "fast"))
