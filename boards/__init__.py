"""Boards: what they offer, building for them, and the host's end of their line."""
