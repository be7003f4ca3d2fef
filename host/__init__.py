# SPDX-License-Identifier: Apache-2.0
"""The computer's side of a board: sends images, takes results, and finds out where they are wrong."""
