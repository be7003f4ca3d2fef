# SPDX-License-Identifier: Apache-2.0
"""Architectures by number: layers, counts, networks to train, and random ones to try tools on."""
