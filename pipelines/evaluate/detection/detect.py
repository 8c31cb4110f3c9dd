"""Detecting people with a torchvision detector whose weights are in a file; nothing is downloaded."""

import hashlib
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from upfusion.color import Pixels
from upfusion.weights_file import parse_weights

WRAPPERS = ("model", "state_dict")
"""Keys under which training scripts save the weights."""

WITHOUT_BACKGROUND = ("retinanet", "fcos")
"""Architectures whose labels start at 0; for the others 0 is the background, which is never detected."""

NAMED_AT_MOST = 3
LONGEST_COMPLAINT = 200  # characters


@dataclass(frozen=True)
class DetectorConfig:
    """The choice of a detector; raises ValueError for an unknown architecture, or a label below 0."""

    architecture: str = "fasterrcnn_resnet50_fpn"
    """A name of torchvision.models.detection."""
    person: int = 1
    """The label of a person: 1 is COCO's."""

    def __post_init__(self) -> None:
        if self.architecture not in architectures():
            raise ValueError(f"unknown detector {self.architecture!r}; known detectors: {', '.join(architectures())}")
        lowest = 0 if self.architecture.startswith(WITHOUT_BACKGROUND) else 1
        if self.person < lowest:
            raise ValueError(f"{self.person} is not a label of {self.architecture}, which count from {lowest}")


class Detector:
    """A detector in eval mode on a device."""

    def __init__(self, network: nn.Module, config: DetectorConfig, digest: str, device: str | torch.device) -> None:
        self.network = network.eval().requires_grad_(False).to(device)
        self.config = config
        self.digest = digest
        self.device = device

    @torch.inference_mode()
    def detect(self, pixels: Pixels) -> NDArray[np.float64]:
        """Detect people in a uint8 or uint16 image, `(H, W)` or `(H, W, 3)`; grey images are converted to RGB.

        Returns `(N, 5)`: x1, y1, x2, y2 in pixels and the score in [0, 1], everything above the detector's own lowest
        score (0.05 for most).
        """
        image_CHW = torch.from_numpy(_colour(pixels).transpose(2, 0, 1)).to(self.device)
        (found,) = self.network([image_CHW])
        people = found["labels"] == self.config.person
        rows = torch.cat([found["boxes"][people], found["scores"][people, None]], dim=1)
        return rows.cpu().numpy().astype(np.float64)


def architectures() -> list[str]:
    """Return the names of torchvision's detectors, sorted."""
    # Imported here: torchvision takes seconds to import, and few evaluations detect.
    from torchvision.models import detection, list_models

    return sorted(list_models(module=detection))


def load_detector(
    config: DetectorConfig, weights: bytes, origin: str = "the file of weights", device: str | torch.device = "cpu"
) -> Detector:
    """Build the detector from the bytes of a safetensors or .pth file; `origin` names the file in errors.

    The number of classes is that of the weights. They may lie under `model` or `state_dict`, and their names may begin
    with `module.`. Raises ValueError when the file holds anything but weights (a pickle is never executed), or those
    of another detector, or has no label `config.person`.
    """
    tensors = _tensors(weights, origin)
    classes = _classes(config.architecture, tensors, origin)
    if config.person >= classes:
        raise ValueError(f"{origin} has no label {config.person}: its labels end at {classes - 1}")
    network = _build(config.architecture, classes)
    _fill(network, tensors, origin, config.architecture)
    return Detector(network, config, detector_digest(config, weights), device)


def detector_digest(config: DetectorConfig, weights: bytes) -> str:
    """Return the SHA-256, in hex, of everything that affects detections: architecture, label and weights."""
    identity = f"{config.architecture}\n{config.person}\n".encode()
    return hashlib.sha256(identity + hashlib.sha256(weights).digest()).hexdigest()


def _colour(pixels: Pixels) -> NDArray[np.float32]:
    """Return `(H, W, 3)` in [0, 1]."""
    shares = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return shares if shares.ndim == 3 else np.repeat(shares[..., None], 3, axis=2)


def _tensors(data: bytes, origin: str) -> dict[str, Tensor]:
    found = parse_weights(data, origin)
    for wrapper in WRAPPERS:
        if isinstance(found.get(wrapper), Mapping):
            found = dict(found[wrapper])
    if not found or not all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in found.items()):
        got = _some([str(name) for name in found])
        raise ValueError(f"{origin}: expected weights by name, at the top or under {' or '.join(WRAPPERS)}, got {got}")
    consume_prefix_in_state_dict_if_present(found, "module.")
    return found


def _classes(architecture: str, weights: dict[str, Tensor], origin: str) -> int:
    """Return the number of classes of a detector with such weights.

    The tensors that depend on it grow linearly with the classes, which two detectors on the meta device show.
    """
    two, three = _shapes(architecture, 2), _shapes(architecture, 3)
    name = next(name for name in two if two[name] != three[name])
    if name not in weights or not weights[name].ndim:
        missing = [name for name in two if name not in weights]
        unknown = [name for name in weights if name not in two]
        raise ValueError(
            f"{origin} does not hold the weights of {architecture}: "
            f"missing are {_some(missing)}; unknown are {_some(unknown)}"
        )
    return max(1, 2 + (weights[name].shape[0] - two[name][0]) // (three[name][0] - two[name][0]))


def _fill(network: nn.Module, weights: dict[str, Tensor], origin: str, architecture: str) -> None:
    """Load with torchvision's own rules, which know the names in older files (such as its COCO weights)."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        _, *complaints = str(error).splitlines()
        named = "; ".join(textwrap.shorten(line, LONGEST_COMPLAINT) for line in complaints[:NAMED_AT_MOST])
        raise ValueError(f"{origin} does not hold the weights of {architecture}: {named}") from error


def _some(names: list[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "") if names else "nothing"


@cache
def _shapes(architecture: str, classes: int) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in _build(architecture, classes).state_dict().items()}


def _build(architecture: str, classes: int) -> Any:
    """Build an untrained detector; without `weights_backbone=None` a backbone would be downloaded."""
    from torchvision.models import get_model

    return get_model(architecture, weights=None, weights_backbone=None, num_classes=classes)
