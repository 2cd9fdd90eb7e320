"""Predictions by ONNX Runtime from a file of `llpp export RUN onnx`; neither torch nor Hydra is imported."""

import json
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llpp.errors import ConfigError, DataError
from llpp.files import read_bytes
from llpp.prediction.predictor import CropPredictions, ModelFacts
from llpp.reliability.rankers import HEAD_RANKER

FACTS_KEY = "llpp"  # of the model's metadata, where its facts are as JSON
INPUT = "crops"
FAILURE_SCORE = "failure_score"
OUTPUTS = ("joints", "confidence", "predicted_loss", FAILURE_SCORE)
MAX_BYTES = (1 << 31) - 1  # of a message of Protocol Buffers
MAX_REASON_LENGTH = 200  # characters of ONNX Runtime's message
ERRORS_ONLY = 3  # ONNX Runtime's level of messages
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


class OnnxPredictor:
    """A `Predictor` from a file.

    Args:
        path: the file.
        device: `cpu`, `cuda` or `cuda:1`, for which onnxruntime-gpu is needed, or `auto`: a GPU if it is installed.

    Raises:
        ConfigError: onnxruntime is not installed, or has nothing for the device.
        DataError: the file is missing or damaged, or is not what this llpp exports.
    """

    def __init__(self, path: str | Path, device: str = "auto") -> None:
        self._path = Path(path)
        self._session = _open_session(self._path, device)
        self.facts = _read_facts(self._path, self._session)
        self._outputs = _choose_outputs(self._session, self.facts)
        _check_signature(self._path, self._session, self.facts, self._outputs)

    def predict(self, crops: NDArray[np.uint8]) -> CropPredictions:
        """See `Predictor.predict`; DataError for crops of another kind or size."""
        size = self.facts.crop_size
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (size, size, 3):
            raise DataError(
                f"crops are {crops.dtype} of shape {crops.shape}; {self._path} expects uint8 of shape "
                f"(any number, {size}, {size}, 3)"
            )
        found = dict(zip(self._outputs, self._session.run(self._outputs, {INPUT: crops}), strict=True))
        losses = found["predicted_loss"]
        return CropPredictions(found["joints"], found["confidence"], losses, found.get(FAILURE_SCORE, losses))


def _open_session(path: Path, device: str) -> Any:
    if find_spec("onnxruntime") is None:
        raise ConfigError(f"{path} is run by onnxruntime, which is not installed; pip install 'llpp[export]'")
    onnxruntime = import_module("onnxruntime")
    provider, options = _choose_provider(device, onnxruntime.get_available_providers())
    try:
        content = read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; give a file of `llpp export RUN onnx`") from error
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = ERRORS_ONLY
    # Its default is a thread for each core of the machine, of which a container may have been given few.
    settings.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    try:
        session = onnxruntime.InferenceSession(content, settings, providers=[(provider, options)])
    # What it raises for a damaged file has no class of its own.
    except Exception as error:
        reason = " ".join(str(error).split())[:MAX_REASON_LENGTH]
        raise DataError(f"{path} cannot be used by onnxruntime ({reason}); export the run again") from error
    # A device that does not work is replaced by the CPU without an error.
    if session.get_providers()[0] != provider:
        raise ConfigError(f"onnxruntime cannot use device={device} here; install what it needs, or use device=cpu")
    return session


def _choose_provider(device: str, available: list[str]) -> tuple[str, dict[str, str]]:
    """What ONNX Runtime calls a device, and its options."""
    if device == "auto":
        return (CUDA if CUDA in available else CPU), {}
    if device == "cpu":
        return CPU, {}
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number.isdecimal() or device == "cuda"):
        raise ConfigError(f"device={device!r} is invalid for an ONNX file; expected auto, cpu, cuda or cuda:1")
    if CUDA not in available:
        raise ConfigError(
            f"device={device} is not possible with this onnxruntime, which offers {', '.join(available)}; install "
            "onnxruntime-gpu in its place, or use device=cpu"
        )
    return CUDA, {"device_id": number or "0"}


def _read_facts(path: Path, session: Any) -> ModelFacts:
    text = session.get_modelmeta().custom_metadata_map.get(FACTS_KEY)
    if text is None:
        raise DataError(
            f"{path} does not say what its model is for, so llpp did not export it; give a file of "
            "`llpp export RUN onnx`"
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} has no complete description of its model; export the run again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} has no complete description of its model; export the run again")
    return ModelFacts.from_json(content, str(path))


def _choose_outputs(session: Any, facts: ModelFacts) -> tuple[str, ...]:
    """What a file has to give: files of version 1 have no failure score, which is their predicted loss."""
    given = {value.name for value in session.get_outputs()}
    if facts.ranker == HEAD_RANKER and FAILURE_SCORE not in given:
        return tuple(name for name in OUTPUTS if name != FAILURE_SCORE)
    return OUTPUTS


def _check_signature(path: Path, session: Any, facts: ModelFacts, wanted: tuple[str, ...]) -> None:
    """Raise DataError unless a session takes and gives what the facts promise."""
    inputs = [(value.name, value.type, list(value.shape[1:])) for value in session.get_inputs()]
    outputs = [(value.name, list(value.shape[1:])) for value in session.get_outputs()]
    size = facts.crop_size
    joints = len(facts.joints)
    shapes: dict[str, list[int]] = {"joints": [joints, 2], "confidence": [joints]}
    expected_outputs = [(name, shapes.get(name, [])) for name in wanted]
    if inputs != [(INPUT, "tensor(uint8)", [size, size, 3])] or outputs != expected_outputs:
        raise DataError(
            f"{path} does not fit its description: it takes {inputs} and gives {outputs}; export the run again"
        )
