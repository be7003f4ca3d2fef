# SPDX-License-Identifier: Apache-2.0
"""From all that was read of an ``.onnx`` file to the network: what its outputs depend on, with as few layers as are
right."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tepal.quant.answers import Answer
from tepal.quant.errors import NetworkError
from tepal.quant.files.draft import Draft, Value
from tepal.quant.files.functions import layered
from tepal.quant.files.onnx_model import OnnxModel
from tepal.quant.files.onnx_node import text
from tepal.quant.files.values import in_order
from tepal.quant.files.weights import WeightedDraft
from tepal.quant.float_network import FloatNetwork
from tepal.quant.graph import joined
from tepal.quant.layer import IMAGE, Closing
from tepal.quant.network import Network
from tepal.quant.ops.depthwise import FloatDepthwise
from tepal.quant.preprocessing import Preprocessing

__all__ = ["network_of"]


def network_of(model: OnnxModel, outputs: list[str], name: str, metadata: dict[str, str]) -> FloatNetwork | Network:
    """The network of all that ``outputs`` depend on.

    Raises
    ------
    NetworkError
        An output is none, or a layer can't be made.
    """
    values = [part for output in outputs for part in _output(model, output, alone=len(outputs) == 1)]
    closing, ends = _closing(values), {value.draft for value in values if value.draft}
    drafts = _reached(_image_scaled(model), ends)
    _fold_forwards(drafts, ends)
    drafts = _reached(drafts, ends)
    numbers: dict[Draft | None, int] = {None: IMAGE} | {draft: number for number, draft in enumerate(drafts)}
    sources = tuple(tuple(numbers[value.draft] for value in draft.reads) for draft in drafts)
    ended = tuple(sorted(numbers[draft] for draft in ends))
    ended = () if ended == (len(drafts) - 1,) else ended
    assert model.size, "a layer has read the image"
    preprocessing = Preprocessing.of_metadata(metadata, model.size[2])
    if not model.start and not any(draft.quantised for draft in drafts):
        layers = tuple(draft.float_layer(index) for index, draft in enumerate(drafts))
        softmax = closing is not None and closing(0, 1.0).name == "SOFTMAX"
        return FloatNetwork(name, joined(layers, sources), softmax=softmax,
                            channels_first=model.channels_first, preprocessing=preprocessing, outputs=ended)
    integer = tuple(draft.layer(index) for index, draft in enumerate(drafts))
    assert model.start, "the first layer would have refused"
    answers = (_answer(outputs[0], closing(len(integer), integer[-1].output_scale), integer[-1].output_shape[2]),) \
        if closing else ()
    return Network(name, joined(integer, sources), *model.start, answers, preprocessing, outputs=ended)


def _output(model: OnnxModel, name: str, *, alone: bool) -> tuple[Value, ...]:
    """What the output ``name`` stands for: one map, or the parts that it was put together of."""
    value = model.values.get(name)
    if value is None:
        raise NetworkError(f"gives {text(name)}, which " + (
            "is constant; leave that output out" if name in model.constants else "no node makes; export it again"))
    if value.padder:
        raise value.padder.error("is the last layer; padding is only supported before Conv")
    if value.parts:
        return tuple(layered(model, part.pending.node, part) if part.pending else part for part in value.parts)
    line = value.places.ndim == 3 and in_order(value.places.transpose(0, 2, 1))
    if value.places.ndim < 4 and not line and not in_order(value.places):
        raise NetworkError("gives a flattened map with its channels first; end it with a vector or with the map")
    if value.pending:
        value = layered(model, value.pending.node, value)
    if value.draft is None:
        raise NetworkError("has no layer to compute" if alone else
                           f"gives {text(name)}, which is the image itself; leave that output out")
    return (value,)


def _closing(outputs: list[Value]) -> Callable[[int, float], Closing] | None:
    """What follows the one output off the chip."""
    closings = [value.closing for value in outputs if value.closing]
    if closings and len(outputs) > 1:
        raise NetworkError(f"has {len(outputs)} outputs and a Softmax or the like behind one of them, which is only "
                           "supported in models of one output; end the model before it")
    return closings[0] if closings else None


def _answer(name: str, closing: Closing, count: int) -> Answer:
    """The output ``name``, which ``closing`` makes of ``count`` logits."""
    return Answer.of_vector(closing, count) if closing.name == "SOFTMAX" else Answer(name, (0,), (count,), (closing,))


def _reached(drafts: list[Draft], ends: set[Draft]) -> list[Draft]:
    """The layers that the outputs ``ends`` depend on, in the order of execution."""
    reached = set(ends)
    for draft in reversed(drafts):
        if draft in reached:
            reached.update(value.draft for value in draft.reads if value.draft)
    return [draft for draft in drafts if draft in reached]


def _image_scaled(model: OnnxModel) -> list[Draft]:
    """All layers, with one for each factor and offset of the image before those that read it."""
    made: dict[int, Value] = {}
    drafts: list[Draft] = []
    for draft in model.drafts:
        reads = []
        for value in draft.reads:
            if value.scaled and id(value.scaled) not in made:
                made[id(value.scaled)] = _scaled_image(model, value)
                drafts += [layer for layer in (made[id(value.scaled)].draft,) if layer]
            reads.append(made[id(value.scaled)] if value.scaled else value)
        draft.reads = tuple(reads)
        drafts.append(draft)
    return drafts


def _scaled_image(model: OnnxModel, value: Value) -> Value:
    """A layer that scales the image as ``value`` says."""
    assert value.scaled
    assert model.size
    node = value.scaled.node
    # In the image's own order of dimensions, as the factors are.
    image = Value(places=np.arange(value.scaled.factor.size, dtype=np.int32).reshape(1, *model.given))
    factor, offset = (model.by_channel(node, image, numbers.reshape(image.places.shape))
                      for numbers in (value.scaled.factor, value.scaled.offset))
    draft = WeightedDraft(kind=FloatDepthwise, node=node, reads=(replace(value, scaled=None),), name=node.output,
                          input_shape=model.size, output_shape=model.size, weights=np.ones((1, 1, model.size[2])),
                          made=True)
    draft.scale(factor, 0.0, offset)
    return Value(places=model.places(value), draft=draft)


def _fold_forwards(drafts: list[Draft], ends: set[Draft]) -> None:
    """Factors and offsets that stand before layers that can take them up become part of these."""
    for draft in drafts:
        if not isinstance(draft, WeightedDraft) or not draft.bare or draft in ends:
            continue
        readers = [reader for reader in drafts if any(value.draft is draft for value in reader.reads)]
        weighted = [reader for reader in readers if isinstance(reader, WeightedDraft) and reader.takes(draft)]
        if len(weighted) == len(readers):
            for reader in weighted:
                reader.absorb(draft)
