# SPDX-License-Identifier: Apache-2.0
"""Which network it is, in 16 bytes: so that a host notices a device that computes another one."""

from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import sha256
from numbers import Integral

import numpy as np

from .network import Network

__all__ = ["DIGEST_BYTES", "digest", "fingerprint"]

DIGEST_BYTES = 16
"""Length of what :func:`digest` gives."""

_UNSEEN = {"name", "index", "tensor", "answers", "input_scale", "output_scale", "weight_scales", "preprocessing",
           "original"}
"""Fields that no int8 result depends on: where the model came from, and what the integers mean."""

_SEEN_IF_GIVEN: dict[str, tuple | int] = {"inputs": (), "outputs": (), "weight_zero_point": 0, "offset": 0}
"""Fields that say nothing where they hold this, so that a chain's digest doesn't depend on there being other
networks."""


def digest(network: Network) -> bytes:
    """Equal for networks of equal integer layers, whatever file they came from; else different."""
    return fingerprint(network)[:DIGEST_BYTES]


def fingerprint(*values) -> bytes:
    """Equal for equal integers, arrays of them, texts, and tuples and dataclasses of these; else different."""
    seen = sha256()
    for value in values:
        _add(seen, value)
    return seen.digest()


def _add(seen, value) -> None:
    """Every part with its type or length before it, so that no two values look alike."""
    if isinstance(value, Enum):
        _add(seen, value.value)
    elif is_dataclass(value):
        shown = [field.name for field in fields(value) if field.name not in _UNSEEN
                 and not (field.name in _SEEN_IF_GIVEN
                          and np.array_equal(getattr(value, field.name), _SEEN_IF_GIVEN[field.name]))]
        seen.update(f"{type(value).__name__}{shown}".encode())
        for name in shown:
            _add(seen, getattr(value, name))
    elif isinstance(value, np.ndarray):
        seen.update(f"array{value.shape}".encode())
        seen.update(np.ascontiguousarray(value, "<i8").tobytes())
    elif isinstance(value, (tuple, list)):
        seen.update(f"tuple{len(value)}".encode())
        for item in value:
            _add(seen, item)
    elif isinstance(value, Integral):
        seen.update(f"int{int(value)};".encode())
    elif isinstance(value, str):
        seen.update(f"str{len(value)};{value}".encode())
    else:
        raise TypeError(f"no digest of {type(value).__name__}")
