# SPDX-License-Identifier: Apache-2.0
"""``.tflite`` files to networks: int8 ones to :class:`~tepal.quant.Network`, float32 ones to
:class:`~tepal.quant.FloatNetwork`.

Here the chain is walked; what each operator means stands in its own file in :mod:`tepal.quant.ops`.
"""

from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from tepal.quant.errors import NetworkError
from tepal.quant.files.obstacles import Format, Obstacle, arithmetic, check_operators, refuse
from tepal.quant.files.tflite_chain import FloatChain, IntegerChain, TfliteChain
from tepal.quant.files.tflite_file import Entry, File, Operator
from tepal.quant.float_network import FloatNetwork
from tepal.quant.layer import NO_PADDING
from tepal.quant.network import Network
from tepal.quant.ops.registry import TFLITE

__all__ = ["TFLITE_FORMATS", "read_tflite"]

_KINDS = {"int8": IntegerChain, "float": FloatChain}


def read_tflite(path: str | PathLike) -> Network | FloatNetwork:
    """The network of a ``.tflite`` file: a float one if its first operator computes float32, else an integer one.

    Parameters
    ----------
    path
        A chain of the operators in ``TFLITE_FORMATS``, batch 1, one input, one output; all int8, or all float32 (its
        weights may be stored as float16).

    Raises
    ------
    NetworkError
        One sentence: the file can't be read, is damaged, or holds something that isn't supported.
    """
    path = Path(path)
    try:
        file = File(path.read_bytes(), {name: found.options for name, found in TFLITE.items() if found.options})
        first = next((entry for entry in file.listing() if not entry.widens), None)
        kind = "float" if first and first.type == "FLOAT32" else "int8"
        _check_listing(file, kind)
        chain = _KINDS[kind](file.input)
        _walk(file, chain)
        return _network(path.stem, chain)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    except OSError as error:
        raise NetworkError(f"{path}: can't be read ({error.strerror})") from None


def _taken(kind: str) -> Iterator[str]:
    """Names of the operators that a file of this kind may hold."""
    return (name for name, found in sorted(TFLITE.items()) if found.only in (None, kind))


def _check_listing(file: File, kind: str) -> None:
    """Raises unless all operators are registered for this kind of file."""
    taken = set(_taken(kind))

    def way(entry: Entry) -> str:
        return TFLITE[entry.name].elsewhere if entry.name in TFLITE else arithmetic(entry.name, entry.computed)

    check_operators((entry.name, way(entry)) for entry in file.listing()
                    if entry.name not in taken and not entry.widens)


def _walk(file: File, chain: TfliteChain) -> None:
    """Take the whole model."""
    obstacles: list[Obstacle] = []
    for operator in file.operators():
        try:
            _step(chain, operator)
        except Obstacle as obstacle:
            obstacles.append(obstacle)
            if not _skip(chain, operator):
                break
        except NetworkError:
            # What was passed over may be the cause of what comes after it.
            refuse(obstacles)
            raise
        chain.tensor = operator.output
    refuse(obstacles)
    if chain.tensor is not file.output:
        raise NetworkError(f"the last operator gives tensor {chain.tensor.index} but the model's output "
                           f"is tensor {file.output.index}")
    if not chain.layers:
        raise NetworkError("has no layer to compute")
    if chain.padder:
        raise chain.padder.error("is the last operator; padding is only supported before a convolution")


def _step(chain: TfliteChain, operator: Operator) -> None:
    """Take one operator."""
    if chain.closed:
        raise chain.closed.error(f"must be the last operator; {operator.name} follows")
    source, known = operator.input(0), TFLITE[operator.name]
    if source is not chain.tensor:
        raise operator.error(f"reads tensor {source.index}, not the result of the operator before "
                             "it; only a single chain of operators is supported")
    if known.computes:
        if not chain.started:
            chain.check_activation(operator, chain.tensor)
            chain.shape = chain.map(operator, chain.tensor)
            chain.started = True
        chain.check_activation(operator, operator.output)
        if chain.closing:
            raise operator.error("follows SOFTMAX, which is only supported at the end")
        if chain.padder and not known.takes_padding:
            raise chain.padder.error(f"is followed by {operator.name}; padding is only supported "
                                     "before a convolution")
        if chain.flat and not known.takes_flat:
            raise operator.error("reads a flattened map; only FULLY_CONNECTED can")
    known.read(chain, operator)


def _skip(chain: TfliteChain, operator: Operator) -> bool:
    """Go on after an operator that can't be taken, with the shape that the file gives; False where there is none."""
    try:
        chain.shape = chain.map(operator, operator.output)
    except NetworkError:
        return False
    chain.padding, chain.padder, chain.flat, chain.skipped = NO_PADDING, None, False, True
    return True


def _network(name: str, chain: TfliteChain) -> Network | FloatNetwork:
    """The network of all that was walked."""
    layers, closing = tuple(chain.layers), chain.closing
    if isinstance(chain, IntegerChain):
        return Network(name, layers, *chain.start.meaning, closing)
    return FloatNetwork(name, layers, softmax=closing is not None, beta=closing.beta if closing else 1.0)


TFLITE_FORMATS = {
    "int8 TFLite": Format("one chain with one input and one output, batch 1; int8 activations, int8 symmetric weights "
                          "with a scale for each output channel or one for all, int32 biases",
                          {name: TFLITE[name].limits for name in _taken("int8")}),
    "float TFLite": Format("one chain with one input and one output, batch 1; float32, or float16 weights that "
                           "DEQUANTIZE widens; for 'tepal quantize'",
                           {name: TFLITE[name].limits for name in _taken("float")}),
}
"""What each kind of file may hold."""
