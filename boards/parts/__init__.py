# SPDX-License-Identifier: Apache-2.0
"""FPGAs, a file a family: what they offer, their clocks, and how their tools are called."""
