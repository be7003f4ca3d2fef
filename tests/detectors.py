# SPDX-License-Identifier: Apache-2.0
"""Small detectors as ``.tflite`` files."""

import numpy as np
from flatbuffers import flexbuffers
from tflite_writer import Chain, Operator, Tensor, Uint8Chain, write

__all__ = ["PARAMETERS", "anchors_of", "detector"]

PARAMETERS = {"max_detections": 10, "max_classes_per_detection": 1, "detections_per_class": 4, "use_regular_nms": False,
              "nms_score_threshold": 0.3, "nms_iou_threshold": 0.5, "num_classes": 3, "y_scale": 10.0, "x_scale": 10.0,
              "h_scale": 5.0, "w_scale": 5.0}


def anchors_of(seed: int) -> np.ndarray:
    """float64 (45, 4)."""
    random = np.random.default_rng([seed, 1])
    return np.concatenate([random.uniform(0, 1, (45, 2)), random.uniform(0.1, 0.5, (45, 2))], axis=1)


def detector(kind: type[Chain], seed: int, floats: bool, *, search: bool = True,
             **changes) -> tuple[bytes, list[Tensor]]:
    """Two heads, their maps put together as boxes and scores, LOGISTIC, and the ``search`` for boxes."""
    random = np.random.default_rng(seed)
    offset = 128 if kind is Uint8Chain else 0
    parameters = PARAMETERS | changes
    chain = kind(6, 6, 3, scale=0.05, zero_point=3 + offset)
    joined = []
    for values, scale in ((4, 0.5), (4, 0.15)):
        parts = []
        for stride in ((1, 1), (2, 2)):
            chain.tensor = chain.input
            chain.convolution(random.integers(-128, 128, (values, 3, 3, 3)) + offset, np.zeros(values), stride=stride,
                              weight_scale=0.02, scale=scale, zero_point=-9 + offset)
            parts.append(chain.reshape(1, int(np.prod(chain.tensor.shape)) // values, values).tensor)
        chain.tensor = parts[0]
        chain.append("CONCATENATION", (1, 45, values), parts[1], Axis=1)
        joined.append(chain.tensor)
    joined[1] = chain.append("LOGISTIC", (1, 45, 4), scale=1 / 256, zero_point=-128 + offset).tensor
    if floats:
        real = [Tensor(tensor.shape, "FLOAT32") for tensor in joined]
        chain.operators += [Operator("DEQUANTIZE", [tensor], [made]) for tensor, made in zip(joined, real, strict=True)]
        joined = real
    if not search:
        return write(chain.operators, [chain.input], joined), joined
    anchors = anchors_of(seed)
    given = Tensor((45, 4), "FLOAT32", data=anchors) if floats else \
        Tensor((45, 4), "UINT8", scale=1 / 128, data=np.rint(anchors * 128))
    slots = parameters["max_detections"] * (1 if parameters["use_regular_nms"] else
                                            parameters["max_classes_per_detection"])
    results = [Tensor(shape, "FLOAT32") for shape in ((1, slots, 4), (1, slots), (1, slots), (1,))]
    chain.operators.append(Operator("CUSTOM", [*joined, given], results,
                                    custom="TFLite_Detection_PostProcess",
                                    custom_options=bytes(flexbuffers.Dumps(parameters))))
    return write(chain.operators, [chain.input], results), results
