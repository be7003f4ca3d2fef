"""Boards: what they offer, building for them, and the command line."""
