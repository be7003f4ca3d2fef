# SPDX-License-Identifier: Apache-2.0
"""Boards: what they offer, and building for them."""
