# SPDX-License-Identifier: Apache-2.0
"""The oracle: LiteRT's reference kernels, every tensor of the graph."""

import warnings

import numpy as np
import operators

with warnings.catch_warnings():
    # Its own start-up may warn of what it was built with.
    warnings.simplefilter("ignore")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

__all__ = ["Interpreter", "reference"]


def reference(model: bytes, images: np.ndarray, *, raw: bool = False) -> dict[int, np.ndarray]:
    """Tensor number to its values, (frames, …), for int8 ``images`` (frames, height, width, channels).

    A model that takes uint8 gets them with 128 more, and its uint8 tensors come back as int8 with 128 less; ``raw``
    leaves both as they are."""
    operators.asked(model)
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
                              experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    wanted = sorted({number for operator in interpreter._get_ops_details() for number in operator["outputs"]})
    if given["dtype"] == np.uint8 and not raw:
        images = images.view(np.uint8) ^ 128
    frames = []
    for image in images:
        interpreter.set_tensor(given["index"], image.reshape(given["shape"]))
        interpreter.invoke()
        frames.append([_values(interpreter.get_tensor(number), raw) for number in wanted])
    return dict(zip(wanted, map(np.stack, zip(*frames, strict=True)), strict=True))


def _values(tensor: np.ndarray, raw: bool) -> np.ndarray:
    tensor = np.atleast_1d(tensor)[0]
    return (tensor ^ 128).view(np.int8) if tensor.dtype == np.uint8 and not raw else tensor
