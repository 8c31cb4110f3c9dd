"""What runs a network that is an ONNX file: ONNX Runtime (extra `onnxruntime`)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Port:
    """An input or output of a network."""

    name: str
    type: str
    """NumPy's name of the element type, such as float32."""
    shape: tuple[int | None, ...]
    """None for a dimension that may vary."""


class Session(Protocol):
    """A network that is ready to run."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]

    def run(self, given: Mapping[str, Array]) -> Array:
        """Return the first output."""


class RuntimeMissingError(RuntimeError):
    """A runtime is not installed."""


def open_session(data: bytes, origin: str, threads: int) -> Session:
    """Load an ONNX file from its bytes; `origin` names it in errors.

    Raises RuntimeMissingError without ONNX Runtime, and ValueError when the bytes are no ONNX file that it can run.
    """
    return OnnxRuntimeSession(data, origin, threads)


class OnnxRuntimeSession:
    """A network in ONNX Runtime, on the CPU."""

    def __init__(self, data: bytes, origin: str, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeMissingError("ONNX Runtime is not installed: pip install 'upfusion[onnxruntime]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        # Weights in other files are searched below the working directory otherwise: a network could read any of them.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base class of their own
            raise ValueError(f"{origin} is no ONNX network that ONNX Runtime can run: {error}") from error
        self.inputs = tuple(_port(one) for one in self._session.get_inputs())
        self.outputs = tuple(_port(one) for one in self._session.get_outputs())
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, given: Mapping[str, Array]) -> Array:
        (first, *_) = self._session.run([self.outputs[0].name], dict(given))
        return np.asarray(first)


_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}


def _port(argument: Any) -> Port:
    shape = tuple(size if isinstance(size, int) else None for size in argument.shape)
    return Port(argument.name, _TYPES.get(argument.type, argument.type), shape)
