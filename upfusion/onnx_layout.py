"""How an ONNX network takes two images and gives one: read from its inputs, its output and its metadata.

A network of others needs no metadata when its inputs are floats in [0, 1] or bytes. Otherwise its file can be given the
entries of METADATA with three lines of the `onnx` package (docs/deploy.md).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from upfusion.runtimes import Port, Session

VALUE_RANGE, SIZE_MULTIPLE, PROMPTS = "upfusion.value_range", "upfusion.size_multiple", "upfusion.prompts"
METADATA = {
    VALUE_RANGE: "values of black and white, of inputs and output: 0..1 (the default of floats), 0..255 or -1..1",
    SIZE_MULTIPLE: "sides are padded by reflection to a multiple of this many pixels, and the result is cropped",
    PROMPTS: "embeddings of texts by name, as JSON, of a network that takes a text",
}
"""What entries of a file's metadata mean."""

RANGES = {"0..1": (0.0, 1.0), "0..255": (0.0, 255.0), "-1..1": (-1.0, 1.0)}

TEXT, BALANCE = "text", "balance"

NAMES_OF_A = frozenset({"a", "vi", "vis", "visible", "rgb", "image_a", "img_vi", "img_vis", "input_vi", "input_a"})
NAMES_OF_B = frozenset({"b", "ir", "inf", "infrared", "thermal", "image_b", "img_ir", "input_ir", "input_b"})
"""Names of inputs that say which source they are; by any other names, the first input is A."""


@dataclass(frozen=True)
class OnnxLayout:
    """Which input is what."""

    a: Port
    b: Port
    fused: Port
    text: Port | None
    balance: Port | None
    channels: int
    """1 where the network takes lumas, 3 where it takes RGB images."""
    black: float
    white: float
    size_multiple: int
    prompts: Mapping[str, tuple[float, ...]]
    """Embeddings of the texts that the file knows, by name."""

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width; None where any will do."""
        return self.a.shape[2], self.a.shape[3]

    @property
    def makes_images(self) -> bool:
        """Whether an RGB image comes out, whose colours are the network's own."""
        return self.fused.shape[1] == 3

    def describe(self) -> dict[str, str]:
        """Return, by heading, what a person wants to know."""
        height, width = (side or "any" for side in self.size)
        kind = "lumas" if self.channels == 1 else "RGB images"
        lines = {
            "Inputs": f"{kind}, A is {self.a.name!r}, B is {self.b.name!r}, of {self.a.type}",
            "Output": f"{'an RGB image' if self.makes_images else 'a luma'}, {self.fused.name!r}",
            "Size": f"{width} x {height} pixels" if (height, width) != ("any", "any") else "any",
            "Values": f"black is {self.black:g}, white is {self.white:g}",
            "Size multiple": str(self.size_multiple) if self.size_multiple > 1 else "",
            "Text": f"built-in prompts: {', '.join(self.prompts)}" if self.text else "none",
            "Balance": "from -1 (A) to 1 (B)" if self.balance else "none",
        }
        return {heading: text for heading, text in lines.items() if text}


def read_layout(session: Session, origin: str) -> OnnxLayout:
    """Read how a network is called; raises ValueError, naming the file and what was found, where it is another kind."""
    guides = {port.name: port for port in session.inputs if port.name in (TEXT, BALANCE)}
    images = [port for port in session.inputs if port.name not in guides]
    shown = ", ".join(f"{port.name} {port.type} {_shape(port)}" for port in session.inputs)
    expected = f"{origin}: expected two inputs of shape (1, 1, H, W) or (1, 3, H, W)"
    if len(images) != 2 or any(not _is_image(port) for port in images):
        raise ValueError(f"{expected}, got {shown}")
    a, b = images
    if a.shape != b.shape or a.type != b.type:
        raise ValueError(f"{expected} that are alike, got {shown}")
    if a.name.lower() in NAMES_OF_B and b.name.lower() in NAMES_OF_A:
        a, b = b, a
    fused = session.outputs[0]
    if len(fused.shape) != 4 or fused.shape[1] not in (None, 1, 3):
        wanted = "a first output of shape (1, 1, H, W) or (1, 3, H, W)"
        raise ValueError(f"{origin}: expected {wanted}, got {_shape(fused)}")
    channels = a.shape[1]
    assert channels is not None
    black, white = _range(session.metadata, a, origin)
    return OnnxLayout(
        a, b, fused, guides.get(TEXT), guides.get(BALANCE), channels, black, white,
        _multiple(session.metadata, origin), _prompts(session.metadata, guides.get(TEXT), origin),
    )  # fmt: skip


def _is_image(port: Port) -> bool:
    batch_and_channels = port.shape[:2]
    is_shaped = len(port.shape) == 4 and batch_and_channels in ((1, 1), (1, 3), (None, 1), (None, 3))
    return is_shaped and port.type in ("float32", "float16", "uint8")


def _shape(port: Port) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in port.shape)})"


def _range(metadata: Mapping[str, str], port: Port, origin: str) -> tuple[float, float]:
    given = metadata.get(VALUE_RANGE, "0..255" if port.type == "uint8" else "0..1")
    if given not in RANGES:
        raise ValueError(f"{origin}: {VALUE_RANGE} is {given!r}, expected one of {', '.join(RANGES)}")
    return RANGES[given]


def _multiple(metadata: Mapping[str, str], origin: str) -> int:
    given = metadata.get(SIZE_MULTIPLE, "1")
    if not given.isdecimal() or not 1 <= int(given) <= 1024:
        raise ValueError(f"{origin}: {SIZE_MULTIPLE} is {given!r}, expected a number of pixels from 1 to 1024")
    return int(given)


def _prompts(metadata: Mapping[str, str], text: Port | None, origin: str) -> dict[str, tuple[float, ...]]:
    if text is None:
        return {}
    try:
        given = {str(name): tuple(map(float, numbers)) for name, numbers in json.loads(metadata[PROMPTS]).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{origin} takes a text, and its {PROMPTS} holds no embeddings") from error
    if any((len(numbers),) != text.shape[1:] for numbers in given.values()):
        raise ValueError(f"{origin}: {PROMPTS} does not hold embeddings of shape {_shape(text)}")
    return given
