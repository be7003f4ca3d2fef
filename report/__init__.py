# SPDX-License-Identifier: Apache-2.0
"""A page to look at: a network on a board, with all that is known of it, in one HTML file that needs nothing else."""

from .page import Given, page

__all__ = ["Given", "page"]
