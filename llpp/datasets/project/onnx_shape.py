"""The shape of a model's input, read from an ONNX file without the package onnx.

OpenCV does not say for what image size a network was exported. An ONNX file is a message of Protocol Buffers: fields,
each a number and a value, of which a few lead to the shape (onnx.proto of the ONNX project, Apache-2.0).
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# Numbers of fields.
MODEL_GRAPH = 7
GRAPH_INITIALIZER = 5
GRAPH_INPUT = 11
TENSOR_NAME = 8
VALUE_NAME = 1
VALUE_TYPE = 2
TYPE_TENSOR = 1
TENSOR_SHAPE = 2
SHAPE_DIMENSION = 1
DIMENSION_VALUE = 1
MAX_VARINT_BYTES = 10
Value = int | memoryview


def find_input_shape(model: bytes) -> list[int | None] | None:
    """Return the shape of a model's first input, None where a side is not fixed; None if this is no model."""
    try:
        return _find_shape(memoryview(model))
    except (ValueError, IndexError):
        return None


def _find_shape(model: memoryview) -> list[int | None] | None:
    for graph in _read_messages(model, MODEL_GRAPH):
        # Old exporters list the weights among the inputs.
        weights = set()
        for tensor in _read_messages(graph, GRAPH_INITIALIZER):
            weights.add(_read_name(tensor, TENSOR_NAME))
        for value in _read_messages(graph, GRAPH_INPUT):
            if _read_name(value, VALUE_NAME) not in weights:
                return _read_shape(value)
    return None


def _read_shape(value: memoryview) -> list[int | None]:
    shape: list[int | None] = []
    for kind in _read_messages(value, VALUE_TYPE):
        for tensor in _read_messages(kind, TYPE_TENSOR):
            for sides in _read_messages(tensor, TENSOR_SHAPE):
                for side in _read_messages(sides, SHAPE_DIMENSION):
                    shape.append(_read_number(side, DIMENSION_VALUE))
    return shape


def _read_messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, value in _read_fields(message):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _read_name(message: memoryview, wanted: int) -> bytes:
    for text in _read_messages(message, wanted):
        return bytes(text)
    return b""


def _read_number(message: memoryview, wanted: int) -> int | None:
    for number, value in _read_fields(message):
        if number == wanted and isinstance(value, int):
            return value
    return None


def _read_fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield the number and value of each field; ValueError or IndexError if this is no message."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, position = _read_varint(message, position)
            yield number, value
        elif kind == BYTES:
            length, position = _read_varint(message, position)
            end = position + length
            if end > len(message):
                raise ValueError("the message is truncated")
            yield number, message[position:end]
            position = end
        elif kind in (FIXED64, FIXED32):
            position += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"fields of kind {kind} do not exist")


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and the position behind it."""
    number = 0
    for count in range(MAX_VARINT_BYTES):
        byte = message[position + count]
        number |= (byte & 127) << (7 * count)
        if byte < 128:
            return number, position + count + 1
    raise ValueError("a number is too long")
