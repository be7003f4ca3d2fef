# SPDX-License-Identifier: Apache-2.0
"""From all that was read of an ``.onnx`` file to the network: what its outputs depend on, with as few layers as are
right."""

from dataclasses import replace
from math import prod

import numpy as np
from tepal.quant.answers import Answer, Arranged, unnamed
from tepal.quant.errors import NetworkError
from tepal.quant.files.draft import Draft, Value, frame
from tepal.quant.files.functions import layered
from tepal.quant.files.onnx_model import OnnxModel
from tepal.quant.files.onnx_node import text
from tepal.quant.files.values import in_order
from tepal.quant.files.weights import WeightedDraft
from tepal.quant.float_network import FloatNetwork
from tepal.quant.graph import joined
from tepal.quant.layer import IMAGE
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
    values = {output: _output(model, output, alone=len(outputs) == 1) for output in outputs}
    ends = {part.draft for value in values.values() for part in value.parts or (value,) if part.draft}
    drafts = _reached(_image_scaled(model), ends)
    _fold_forwards(drafts, ends)
    drafts = _reached(drafts, ends)
    numbers: dict[Draft | None, int] = {None: IMAGE} | {draft: number for number, draft in enumerate(drafts)}
    sources = tuple(tuple(numbers[value.draft] for value in draft.reads) for draft in drafts)
    ended = tuple(sorted(numbers[draft] for draft in ends))
    ended = () if ended == (len(drafts) - 1,) else ended
    answers = tuple(_answer(output, value, [sorted(numbers[end] for end in ends).index(numbers[part.draft])
                                            for part in value.parts or (value,)], len(drafts))
                    for output, value in values.items())
    if model.own and _same(answers, unnamed([end.output_shape for end in sorted(ends, key=lambda end: numbers[end])])):
        answers = ()
    assert model.size, "a layer has read the image"
    preprocessing = Preprocessing.of_metadata(metadata, model.size[2])
    if not model.start and not any(draft.quantised for draft in drafts):
        layers = tuple(draft.float_layer(index) for index, draft in enumerate(drafts))
        return FloatNetwork(name, joined(layers, sources), channels_first=model.channels_first,
                            preprocessing=preprocessing, answers=answers, outputs=ended)
    integer = tuple(draft.layer(index) for index, draft in enumerate(drafts))
    assert model.start, "the first layer would have refused"
    return Network(name, joined(integer, sources), *model.start, preprocessing=preprocessing,
                   outputs=ended).answering(answers)


def _output(model: OnnxModel, name: str, *, alone: bool) -> Value:
    """What the output ``name`` stands for, of layers."""
    value = model.values.get(name)
    if value is None:
        raise NetworkError(f"gives {text(name)}, which " + (
            "is constant; leave that output out" if name in model.constants else "no node makes; export it again"))
    if value.padder:
        raise value.padder.error("is the last layer; padding is only supported before Conv")
    value = replace(value, parts=tuple(_layered(model, part) for part in value.parts))
    value = value if value.parts else _layered(model, value)
    if any(part.draft is None for part in value.parts or (value,)):
        raise NetworkError("has no layer to compute" if alone else
                           f"gives {text(name)}, which is the image itself; leave that output out")
    return value


def _layered(model: OnnxModel, value: Value) -> Value:
    return layered(model, value.pending.node, value) if value.pending else value


def _same(answers: tuple[Answer, ...], others: tuple[Answer, ...]) -> bool:
    return [(answer.name, answer.parts, answer.shape, answer.closings) for answer in answers] == [
        (answer.name, answer.parts, answer.shape, answer.closings) for answer in others]


def _answer(name: str, value: Value, parts: list[int], layers: int) -> Answer:
    """The output ``name`` of a float network of so many ``layers``, which holds ``value``, made of the network's
    outputs ``parts``."""
    closings = tuple(replace(closing, index=layers) for closing in value.closings)
    if not (closings and frame(value.places.shape) == value.closed and in_order(value.places)):
        closings = (*closings, Arranged(-1, -1, frame(value.places.shape), value.places.ravel()))
    first, *others = (replace(closing, order=None) if isinstance(closing, Arranged) and closing.order is not None
                      and in_order(closing.order) else closing for closing in closings)
    assert isinstance(first, Arranged)
    if first.order is None:
        return Answer(text(name), tuple(parts), first.shape, tuple(others))
    sizes = sum(prod(part.draft.output_shape) for part in value.parts or (value,) if part.draft)
    return Answer(text(name), tuple(parts), (sizes,), (first, *others))


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
