"""Splits a Piper voice's network in two, so that sound leaves while the rest of a sentence is still being computed. Pure.

The bytes of one ONNX file enter, the bytes of two leave. A Piper voice is VITS (Kim et al. 2021): text encoder, durations and flow give a
latent of 192 values for each frame of 256 samples, and a HiFi-GAN decoder turns the latent into sound. The decoder is a stack of
convolutions: a frame depends only on its neighbours within `CONTEXT_FRAMES`. So the latent can be decoded in pieces, each with its
neighbours, and the pieces have the same samples as the whole. The encoder half also outputs the frames of each phoneme, which an unchanged
voice does not expose; they give the word times.

Only the fields of ONNX that are moved are read (`onnx.proto3`: ModelProto.graph = 7; GraphProto.node = 1, initializer = 5, input = 11,
output = 12, value_info = 13). The rest is copied as bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

CONTEXT_FRAMES = 12
"""Neighbours on either side that a frame depends on. Measured: beyond 10 the difference is below one part in a million."""

GRAPH = 7
NODE, GRAPH_NAME, INITIALIZER, INPUT, OUTPUT = 1, 2, 5, 11, 12
TENSOR_NAME, VALUE_NAME, VALUE_TYPE = 8, 1, 2
FLOAT = 1
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

DECODER_WEIGHT = "dec.conv_pre.weight"
"""The first weight of the decoder, in every export of Piper's training code."""

Value = int | memoryview


class SplitModel(Struct, frozen=True):
    """The two halves. `encoder`: the voice's own inputs → `latent` (1, channels, frames) and `durations` (1, 1, phonemes), in frames.
    `decoder`: `latent` → sound.
    """

    encoder: bytes
    decoder: bytes
    latent: str
    durations: str


class _Node(Struct, frozen=True):
    data: memoryview
    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def split(model: bytes) -> SplitModel | None:
    """`model` in two halves; None for a different architecture (several speakers, another decoder), which is run whole.

    Raises ValueError for bytes that are not an ONNX model.
    """
    fields = list(_fields(memoryview(model)))
    graphs = [value for number, value in fields if number == GRAPH and isinstance(value, memoryview)]
    if len(graphs) != 1:
        raise ValueError("not an ONNX model: it has no graph")
    head = b"".join(_field(number, value) for number, value in fields if number != GRAPH)
    graph = _Graph(graphs[0])
    first = next((node for node in graph.nodes if DECODER_WEIGHT in node.inputs), None)
    durations = next((node for node in graph.nodes if node.operator == "Ceil" and node.name == "/Ceil"), None)
    if first is None or durations is None or len(graph.outputs) != 1:
        return None
    latent = first.inputs[0]
    decoder = graph.part([latent], list(graph.outputs))
    if decoder.needs & graph.inputs.keys():
        return None
    encoder = graph.part([], [latent, durations.outputs[0]])
    return SplitModel(head + encoder.graph, head + decoder.graph, latent, durations.outputs[0])


class _Part(Struct, frozen=True):
    graph: bytes
    needs: frozenset[str]


class _Graph:
    """The nodes and tensors of one graph."""

    def __init__(self, data: memoryview) -> None:
        self.nodes: list[_Node] = []
        self.inputs: dict[str, memoryview] = {}
        self.outputs: dict[str, memoryview] = {}
        self._weights: dict[str, memoryview] = {}
        for number, value in _fields(data):
            if isinstance(value, int):
                continue
            if number == NODE:
                self.nodes.append(_node(value))
            elif number == INITIALIZER:
                self._weights[_text(value, TENSOR_NAME)] = value
            elif number == INPUT:
                self.inputs[_text(value, VALUE_NAME)] = value
            elif number == OUTPUT:
                self.outputs[_text(value, VALUE_NAME)] = value

    def part(self, inputs: list[str], outputs: list[str]) -> _Part:
        """The part that computes `outputs` from `inputs` and the graph's own inputs, as the graph field of a model."""
        needs = set(outputs)
        kept: list[memoryview] = []
        for node in reversed(self.nodes):
            if needs.intersection(node.outputs):
                kept.append(node.data)
                needs.update(name for name in node.inputs if name not in inputs)
        body = [_field(NODE, data) for data in reversed(kept)]
        body.append(_field(GRAPH_NAME, b"part"))
        body += [_field(INITIALIZER, data) for name, data in self._weights.items() if name in needs]
        body += [_field(INPUT, _float_tensor(name)) for name in inputs]
        body += [_field(INPUT, data) for name, data in self.inputs.items() if name in needs]
        body += [_field(OUTPUT, self.outputs.get(name) or _float_tensor(name)) for name in outputs]
        return _Part(_field(GRAPH, b"".join(body)), frozenset(needs))


def _node(data: memoryview) -> _Node:
    """A NodeProto: input = 1, output = 2, name = 3, op_type = 4."""
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: []}
    for number, value in _fields(data):
        if number in texts and isinstance(value, memoryview):
            texts[number].append(bytes(value).decode())
    return _Node(data, "".join(texts[3]), "".join(texts[4]), tuple(texts[1]), tuple(texts[2]))


def _text(data: memoryview, wanted: int) -> str:
    return next((bytes(value).decode() for number, value in _fields(data) if number == wanted and isinstance(value, memoryview)), "")


def _float_tensor(name: str) -> bytes:
    """A ValueInfoProto: a tensor of floats of any shape."""
    tensor_type = _field(1, FLOAT)
    return _field(VALUE_NAME, name.encode()) + _field(VALUE_TYPE, _field(1, tensor_type))


# -- protocol buffers (developers.google.com/protocol-buffers/docs/encoding)


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Field numbers and values. Raises ValueError if it is not a message."""
    i = 0
    while i < len(data):
        key, i = _varint(data, i)
        number, wire_type = key >> 3, key & 7
        value: Value
        if wire_type == VARINT:
            value, i = _varint(data, i)
        else:
            if wire_type == BYTES:
                size, i = _varint(data, i)
            elif wire_type in (FIXED32, FIXED64):
                size = 4 if wire_type == FIXED32 else 8
            else:
                raise ValueError(f"not an ONNX model: wire type {wire_type} at byte {i}")
            if i + size > len(data):
                raise ValueError("not an ONNX model: it ends in the middle of a field")
            value, i = data[i : i + size], i + size
        yield number, value


def _varint(data: memoryview, i: int) -> tuple[int, int]:
    value = shift = 0
    while i < len(data) and shift < 64:
        byte = data[i]
        i += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, i
        shift += 7
    raise ValueError("not an ONNX model: a number without an end")


def _field(number: int, value: int | bytes | memoryview) -> bytes:
    if isinstance(value, int):
        return _encoded([number << 3 | VARINT, value])
    return _encoded([number << 3 | BYTES, len(value)]) + bytes(value)


def _encoded(values: Iterable[int]) -> bytes:
    encoded = bytearray()
    for value in values:
        while value > 0x7F:
            encoded.append(value & 0x7F | 0x80)
            value >>= 7
        encoded.append(value)
    return bytes(encoded)
