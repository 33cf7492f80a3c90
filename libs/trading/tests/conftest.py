"""Property tests: no deadline on a busy machine, and no memory between runs."""

from hypothesis import settings

settings.register_profile("tocsin", deadline=None, database=None)
settings.load_profile("tocsin")
