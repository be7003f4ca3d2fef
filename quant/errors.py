# SPDX-License-Identifier: Apache-2.0
"""What is raised where a model or its data can't be taken."""

__all__ = ["NetworkError"]


class NetworkError(ValueError):
    """The model can't be taken; the message is one sentence that names the layer or the limit."""
