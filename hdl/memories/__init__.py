# SPDX-License-Identifier: Apache-2.0
"""Memories: blocks of the part's, single-port ones that are loaded, and the flash they are loaded from."""
