"""Small ONNX models, written as Protocol Buffers by hand: detectors of persons are read without the package onnx.

The numbers of fields are those of onnx.proto (github.com/onnx/onnx, Apache-2.0).
"""

import numpy as np

FLOAT, INT64 = 1, 7
TYPES = {np.dtype("float32"): FLOAT, np.dtype("int64"): INT64}


def varint(number):
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def field(number, value):
    """One field: a whole number, text or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name, array):
    shape = b"".join(field(1, side) for side in array.shape)
    return shape + field(2, TYPES[array.dtype]) + field(8, name) + field(9, array.tobytes())


def node(kind, inputs, output, **attributes):
    parts = [field(1, name) for name in inputs]
    parts += [field(2, output), field(3, f"{output}_node"), field(4, kind)]
    for name, value in attributes.items():
        if isinstance(value, int):
            content = field(3, value) + field(20, 2)
        else:
            content = b"".join(field(8, item) for item in value) + field(20, 7)
        parts.append(field(5, field(1, name) + content))
    return b"".join(parts)


def named_shape(name, shape, kind=FLOAT):
    """An input or output; a side may be a word, if it is not fixed."""
    sides = b"".join(field(1, field(2 if isinstance(side, str) else 1, side)) for side in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, sides)))


def model(nodes, tensors, inputs, outputs):
    graph = b"".join(field(1, one) for one in nodes) + field(2, "graph")
    graph += b"".join(field(5, tensor(name, array)) for name, array in tensors.items())
    graph += b"".join(field(11, one) for one in inputs) + b"".join(field(12, one) for one in outputs)
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


def linear_outputs(size, outputs):
    """A model of outputs that are linear in the mean of each channel of an input (1, 3, *size).

    `outputs`: by name the values without an input, of any shape, and what is added for a channel: (place, channel).
    """
    nodes = [node("GlobalAveragePool", ["input"], "means")]
    tensors = {}
    shapes = []
    for name, (values, added) in outputs.items():
        values = np.array(values, dtype=np.float32)
        weights = np.zeros((*values.shape, 3), dtype=np.float32)
        for place, channel in added:
            weights[(*place, channel)] = 1
        tensors[f"{name}_weight"] = weights.reshape(-1, 3, 1, 1)
        tensors[f"{name}_bias"] = values.reshape(-1)
        tensors[f"{name}_shape"] = np.array(values.shape, dtype=np.int64)
        nodes.append(node("Conv", ["means", f"{name}_weight", f"{name}_bias"], f"{name}_flat", kernel_shape=[1, 1]))
        nodes.append(node("Reshape", [f"{name}_flat", f"{name}_shape"], name))
        shapes.append(named_shape(name, values.shape))
    return model(nodes, tensors, [named_shape("input", (1, 3, *size))], shapes)
