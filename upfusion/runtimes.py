"""What runs a network that is an ONNX file: ONNX Runtime or OpenVINO (extras `onnxruntime` and `openvino`)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

Runtime = Literal["torch", "onnxruntime", "openvino"]
OnnxRuntimeName = Literal["onnxruntime", "openvino"]

FASTEST: Runtime = "torch"
"""What `auto` stands for, on CPUs as on GPUs, as measured (docs/performance.md, "Runtimes")."""


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


def open_session(data: bytes, origin: str, threads: int, runtime: OnnxRuntimeName = "onnxruntime") -> Session:
    """Load an ONNX file from its bytes; `origin` names it in errors.

    Raises RuntimeMissingError without the runtime, and ValueError when the bytes are no ONNX file that it can run.
    """
    session: Session = OnnxRuntimeSession(data, origin, threads)  # which also reads the metadata
    return OpenVinoSession(data, origin, threads, session) if runtime == "openvino" else session


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


class OpenVinoSession:
    """A network in OpenVINO, on the CPU, in float32; `described` is what ONNX Runtime has read of its ports."""

    def __init__(self, data: bytes, origin: str, threads: int, described: Session) -> None:
        try:
            import openvino
        except ImportError as error:
            raise RuntimeMissingError("OpenVINO is not installed: pip install 'upfusion[openvino]'") from error
        # On CPUs with AMX its default is bfloat16, which moves single pixels by dozens of levels.
        options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        try:
            core = openvino.Core()
            self._request = core.compile_model(core.read_model(data), "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise ValueError(f"{origin} is no ONNX network that OpenVINO can run: {error}") from error
        self.inputs, self.outputs, self.metadata = described.inputs, described.outputs, described.metadata

    def run(self, given: Mapping[str, Array]) -> Array:
        made = self._request.infer({name: np.ascontiguousarray(values) for name, values in given.items()})
        return np.array(made[0])  # a copy: the request writes the next result to the same place


_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}


def _port(argument: Any) -> Port:
    shape = tuple(size if isinstance(size, int) else None for size in argument.shape)
    return Port(argument.name, _TYPES.get(argument.type, argument.type), shape)
