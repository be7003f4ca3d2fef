# SPDX-License-Identifier: Apache-2.0
"""Boards: what they offer, building for them, and the host's end of their line."""
