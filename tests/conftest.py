"""Puts this folder on the import path, so that the helpers beside it can be imported by name."""

from hypothesis import settings

# The same examples on every machine and every run.
settings.register_profile("tepal", derandomize=True, deadline=None, database=None)
settings.load_profile("tepal")
