"""The ``tepal`` command."""
