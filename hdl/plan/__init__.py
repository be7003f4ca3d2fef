# SPDX-License-Identifier: Apache-2.0
"""What is decided before there is hardware: from a network to passes, places, cycles and the contents of ROMs."""
