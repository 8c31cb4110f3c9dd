"""A detector of people in miniature: torchvision's cheapest that learns within a minute, and scenes for it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model

from pipelines.evaluate.detection.boxes import People

ARCHITECTURE = "fasterrcnn_mobilenet_v3_large_320_fpn"
SIDE = 160

# Fewer proposals than torchvision's own 2000 and 512, for speed: weights do not depend on them.
FEW_PROPOSALS = {"rpn_post_nms_top_n_train": 50, "box_batch_size_per_image": 32}
STEPS = 48
BATCH = 4
BATCHES = 12
LEARNING_RATE = 1e-3
WARM_UP = 10


def draw_people(rng: np.random.Generator, width: int = SIDE, height: int = SIDE) -> tuple[NDArray[np.uint8], People]:
    """Draw one or two bright upright rectangles on dark ground: pixels `(H, W)`, and where they are."""
    pixels = rng.normal(30, 8, (height, width))
    boxes = []
    for half in range(rng.integers(1, 3)):
        tall = int(rng.integers(height // 3, height * 2 // 5))
        wide = tall // 2
        x = half * width // 2 + int(rng.integers(0, width // 2 - wide))
        y = int(rng.integers(0, height - tall))
        pixels[y : y + tall, x : x + wide] = rng.normal(220, 8, (tall, wide))
        boxes.append([x, y, x + wide, y + tall])
    return pixels.clip(0, 255).astype(np.uint8), People(np.array(boxes, np.float64), np.zeros(len(boxes), np.bool_))


def make_detector(path: Path) -> Path:
    """Write such a detector with random weights."""
    with torch.random.fork_rng():
        save_file(_untrained().state_dict(), path)
    return path


def train_tiny_detector(path: Path) -> Path:
    """Write a detector that finds most of such people as label 1 (ARCHITECTURE, safetensors, 76 MB)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            save_file(_trained().state_dict(), path)
    finally:
        torch.set_num_threads(threads)
    return path


def _untrained() -> nn.Module:
    torch.manual_seed(0)
    return get_model(ARCHITECTURE, weights=None, weights_backbone=None, num_classes=2, **FEW_PROPOSALS)


def _trained() -> nn.Module:
    """Train all but the backbone: random filters tell bright from dark, and what they see is computed once."""
    network = _untrained()
    rng = np.random.default_rng(0)
    _settle_statistics(network, rng)
    network.backbone.requires_grad_(False)
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(learned)
    seen = [_see(network, *_batch(rng, BATCH)) for _ in range(BATCHES)]
    for step in range(STEPS):
        images, features, targets = seen[step % BATCHES]
        proposals, losses = network.rpn(images, features, targets)
        losses |= network.roi_heads(features, proposals, images.image_sizes, targets)[1]
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1, (step + 1) / WARM_UP) * (1 - step / STEPS) ** 0.5
        optimizer.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
    return network


def _settle_statistics(network: nn.Module, rng: np.random.Generator) -> None:
    """Take what batch normalisation subtracts from one batch and keep it: so few steps would not settle it."""
    normalisations = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in normalisations:
        module.momentum = None
    with torch.no_grad():
        network.train()(*_batch(rng, 2 * BATCH))
    for module in normalisations:
        module.eval()


@torch.no_grad()
def _see(network: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]]) -> tuple[Any, Any, Any]:
    resized, targets = network.transform(images, targets)
    return resized, network.backbone(resized.tensors), targets


def _batch(rng: np.random.Generator, count: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    scenes = [draw_people(rng) for _ in range(count)]
    images = [torch.from_numpy(pixels).float().div(255).expand(3, -1, -1) for pixels, _ in scenes]
    targets = [
        {"boxes": torch.from_numpy(people.boxes).float(), "labels": torch.ones(len(people.boxes), dtype=torch.int64)}
        for _, people in scenes
    ]
    return images, targets
