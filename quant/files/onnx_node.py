# SPDX-License-Identifier: Apache-2.0
"""One node of an ``.onnx`` file, held to the specification of its operator (https://onnx.ai/onnx/operators)."""

from copy import copy
from typing import Any

import onnx
from tepal.quant.errors import NetworkError
from tepal.quant.layer import shortened

from .obstacles import Obstacle

__all__ = ["Node", "text"]


def text(name: str | bytes) -> str:
    """A name as a message shows it."""
    # What isn't UTF-8 is left as bytes by the protobuf classes.
    name = name.decode(errors="replace") if isinstance(name, bytes) else name
    name = "".join(character if character.isprintable() else "?" for character in name)
    return shortened(name)


_KINDS = {"INT": "an integer", "INTS": "a list of integers", "FLOAT": "a number", "FLOATS": "a list of numbers",
          "STRING": "a text", "STRINGS": "a list of texts", "TENSOR": "a tensor", "GRAPH": "a graph"}


def _kind(number: int) -> str:
    """What an attribute of this type is called."""
    names = dict(zip(onnx.AttributeProto.AttributeType.values(), onnx.AttributeProto.AttributeType.keys(), strict=True))
    name = names.get(number, f"type {number}")
    return _KINDS.get(name, name.lower())


class Node:
    """One node: ``operator``, names of ``inputs``, name of its first ``output``, ``attributes``; ``widened`` says that
    it is made of one along a single dimension.

    The number of its inputs and the types of its attributes are those that the specification of its operator in the
    version ``opset`` lays down."""

    def __init__(self, index: int, proto: onnx.NodeProto, opset: int):
        self.index, self.proto = index, proto
        self.operator = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
        self.operator = text(self.operator)
        self.inputs = tuple(proto.input)
        self.label = f"node {index} ({self.operator}, {text(proto.name or ''.join(proto.output[:1]))})"
        if not proto.output:
            raise self.error("gives no output")
        self.output = proto.output[0]
        self._check(opset)
        self.widened = False
        self.attributes: dict[str, Any] = {}
        for attribute in proto.attribute:
            try:
                self.attributes[attribute.name] = onnx.helper.get_attribute_value(attribute)
            except ValueError:
                raise self.error(f"has the attribute {text(attribute.name)} of an unknown type") from None

    def _check(self, opset: int) -> None:
        if (schema := self._schema(opset)) is None:
            return
        newest = self._schema(onnx.defs.onnx_opset_version())
        # Some files hold a newer form of an operator than the version that they name.
        least, most = min(schema.min_input, newest.min_input), max(schema.max_input, newest.max_input)
        if not least <= len(self.inputs) <= most:
            needed = f"at least {least}" if most > 100 else str(least) if least == most else f"{least} to {most}"
            raise self.error(f"has {len(self.inputs)} inputs; {needed} are needed")
        given = {attribute.name: attribute.type for attribute in self.proto.attribute}
        for name, known in schema.attributes.items():
            if known.required and name not in given:
                raise self.error(f"has no attribute {name}")
        for name, kind in given.items():
            wanted = self._attribute_type(schema, newest, name)
            if wanted is not None and kind != wanted:
                raise self.error(f"has {_kind(kind)} as its attribute {name}; {_kind(wanted)} is needed")

    def _schema(self, opset: int) -> Any:
        """The newest version of the operator that is not newer than ``opset``; None if there is none."""
        try:
            return onnx.defs.get_schema(self.operator, min(max(opset, 0), onnx.defs.onnx_opset_version()))
        except onnx.defs.SchemaError:
            return None

    def _attribute_type(self, schema: Any, newest: Any, name: str) -> int | None:
        """The type of the attribute ``name`` in this version of the operator or in the nearest older one that has it,
        or else in the newest."""
        while schema is not None:
            if name in schema.attributes:
                return schema.attributes[name].type.value
            schema = self._schema(schema.since_version - 1)
        return newest.attributes[name].type.value if name in newest.attributes else None

    def two_dimensional(self) -> "Node":
        """This node, whose window moves along one dimension, with one of a single row along two."""
        if self.attributes.get("pads") is not None and len(self.attributes["pads"]) != 2:
            raise self.error(f"has {len(self.attributes['pads'])} pads for one dimension")
        node = copy(self)
        node.widened, node.attributes = True, dict(self.attributes)
        for name, before in (("kernel_shape", 1), ("strides", 1), ("dilations", 1)):
            if name in node.attributes:
                node.attributes[name] = [before, *node.attributes[name]]
        if "pads" in node.attributes:
            first, last = node.attributes["pads"]
            node.attributes["pads"] = [0, first, 0, last]
        return node

    def error(self, what: str) -> NetworkError:
        """The file can't be read on from here."""
        return NetworkError(f"{self.label} {what}")

    def obstacle(self, what: str) -> Obstacle:
        """The node is valid, but isn't supported as it stands here."""
        return Obstacle("node", self.index, self.label, what)

    def misfit(self) -> NetworkError:
        """Values that could be decoded make no sense together."""
        names = text(", ".join(self.attributes))
        what = " and ".join(["inputs"] * bool(self.inputs) + [f"attributes ({names})"] * bool(names))
        return self.error(f"has {what or 'outputs'} that don't fit together; export the model again")

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """The attribute ``name``, as long as ``default``."""
        values = self.attributes.get(name, default)
        if len(values) != len(default):
            raise self.error(f"has {len(values)} {name}; only images (two dimensions of pixels) are supported")
        return tuple(int(value) for value in values)

    def axis(self, axis: int, rank: int) -> int:
        """``axis`` counted from 0, where it may be counted from the end of ``rank`` dimensions."""
        if not -rank <= axis < rank:
            raise self.error(f"has the axis {axis} for {rank} dimensions")
        return int(axis) % rank
