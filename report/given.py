# SPDX-License-Identifier: Apache-2.0
"""What other commands have found out about the network, as JSON: it is looked at before anything is made of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tepal.quant import NetworkError

__all__ = ["BUILD", "LOSSES", "SIMULATION", "read_json"]

_NUMBER = (int, float)

BUILD = {
    "board": str, "part": str, "passed": bool, "fmax_mhz": _NUMBER, "clock_mhz": _NUMBER, "target_mhz": _NUMBER,
    "used": {str: int}, "available": {str: int}, "in_memory_cycles": int, "last_byte_cycles": int,
    "interval_cycles": int, "in_memory_ms": _NUMBER, "last_byte_ms": _NUMBER,
    "frames_per_second": _NUMBER, "critical_path": (None, {
        "from": str, "to": str, "ns": _NUMBER, "logic_ns": _NUMBER, "routing_ns": _NUMBER,
        "steps": [{"kind": str, "at": str, "ns": _NUMBER}]}),
    "seeds": [{"seed": int, "fmax_mhz": (None, *_NUMBER)}], "best_seed": int,
    "tools": {str: {"version": str, "from": str}},
}
"""What is read of the ``report.json`` that ``tepal build`` writes."""

SIMULATION = {
    "board": str, "frames": int, "cycles": (None, int), "in_memory_cycles": (None, int),
    "last_byte_cycles": (None, int), "interval_cycles": (None, int), "predicted_cycles": int,
    "predicted_in_memory_cycles": int, "predicted_last_byte_cycles": int, "predicted_interval_cycles": int,
    "mismatches": int, "compared": int, "cycle_errors": [str], "problems": [str], "first_mismatch": (None, str),
}
"""What is read of what ``tepal simulate --json`` prints."""

LOSSES = {
    "frames": int, "method": str, "agreement": _NUMBER, "logit_error": _NUMBER, "accuracy": (None, {str: _NUMBER}),
    "layers": [{"name": str, "kind": str, "low": _NUMBER, "high": _NUMBER, "scale": _NUMBER, "zero_point": int,
                "sqnr": _NUMBER, "saturated": _NUMBER, "alone": _NUMBER}],
}
"""What is read of what ``tepal quantize --json`` prints."""


def read_json(path: Path, form: Mapping[str, Any], command: str) -> dict[str, Any]:
    """The object in ``path``, which has at least what ``form`` says: names with types of their values, ``None`` for
    null, several to choose from in a tuple, lists and objects of such; ``str`` stands for any name.

    Raises
    ------
    NetworkError
        It can't be read, or is not what ``command`` writes.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NetworkError(f"{path} can't be read ({error.strerror or error})") from None
    except (ValueError, RecursionError):
        raise NetworkError(f"{path} is no JSON: give what {command} writes") from None
    if (where := _wrong(value, form, "")) is not None:
        raise NetworkError(f"{path} is not what {command} writes{f': {where}' if where else ''}")
    return value


def _wrong(value: Any, form: Any, where: str) -> str | None:
    """Where ``value`` is not as ``form`` says; None if it is nowhere."""
    if isinstance(form, tuple):
        found = [_wrong(value, each, where) for each in form]
        # The last one says most.
        return None if None in found else found[-1]
    if form is None or isinstance(form, type):
        # True is an integer to Python alone.
        fits = value is None if form is None else type(value) is form
        return None if fits else where or "its kind"
    if isinstance(form, list):
        parts = [(each, form[0], f"{where} {number}") for number, each in enumerate(value)] \
            if isinstance(value, list) else None
    elif not isinstance(value, dict):
        parts = None
    elif str in form:
        parts = [(each, form[str], f"{where} {name}") for name, each in value.items()]
    else:
        parts = [(value.get(name, ...), each, f"{where} {name}") for name, each in form.items()]
    if parts is None:
        return where.strip()
    return next((found.strip() for part in parts if (found := _wrong(*part)) is not None), None)
