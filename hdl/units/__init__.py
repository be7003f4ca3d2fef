# SPDX-License-Identifier: Apache-2.0
"""What the engine is made of, from the window generator to the drain."""
