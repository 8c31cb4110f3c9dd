"""The pretrained ConvNeXt of SCPM, and what to do for machines that cannot reach a model hub.

A checkpoint holds its prior, so only a network that is made anew needs one.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]
from torch import Tensor

from upfusion.convnext import ConvNeXt
from upfusion.weights_file import parse_weights

HUB_PATIENCE = 5.0
"""Seconds; a download that the hub does not answer is otherwise asked for again for most of a minute."""


PROXY_REFUSES = 407  # HTTP status

INSIDE_TORCHVISION_BLOCKS = {
    "layer_scale": "gamma",
    "block.0": "conv_dw",
    "block.2": "norm",
    "block.3": "mlp.fc1",
    "block.5": "mlp.fc2",
}


class PriorUnavailableError(RuntimeError):
    """A pretrained prior, ConvNeXt or text encoder, that is needed here cannot be had."""


def not_found(prior: str, reason: object, *, option: str, otherwise: str) -> PriorUnavailableError:
    """Say what was looked for, where, and the three ways out."""
    return PriorUnavailableError(
        f"the pretrained {prior} was found neither on the model hub ({constants.ENDPOINT}) nor in its cache "
        f"({constants.HF_HUB_CACHE}): {str(reason).rstrip('. ')}. Ways out: run the same where the hub can be reached, "
        f"copy the cache from there and name its folder in HF_HUB_CACHE; give a local copy with {option}; or "
        f"{otherwise}."
    )


@contextmanager
def model_hub() -> Iterator[None]:
    """Let the hub answer within seconds or count as unreachable; its cache is used either way."""
    before = constants.HF_HUB_OFFLINE
    try:
        if not before:
            answer = get_session().head(constants.ENDPOINT, timeout=HUB_PATIENCE)
            constants.HF_HUB_OFFLINE = answer.status_code >= 500 or answer.status_code == PROXY_REFUSES
    except Exception:  # noqa: BLE001  # requests and httpx have no class of errors in common
        constants.HF_HUB_OFFLINE = True
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # open_clip and the hub repeat on the log what they raise
    try:
        yield
    finally:
        logging.disable(disabled)
        constants.HF_HUB_OFFLINE = before


def load_convnext(into: ConvNeXt, name: str, location: str | Path | None = None) -> None:
    """Fill a headless ConvNeXt with pretrained weights (Liu et al. 2022, doi:10.1109/CVPR52688.2022.01167).

    `name` is timm's, `location` a file of weights (safetensors, or a pickle of tensors) with the names of timm,
    torchvision or the ConvNeXt authors, for machines that reach no model hub. Raises PriorUnavailableError when
    the hub is needed and not reached, FileNotFoundError when no file lies at `location`, and ValueError when the
    weights are not those of such a ConvNeXt.
    """
    origin = str(location or name)
    weights = _from_hub(name) if location is None else _from_file(Path(location))
    try:
        into.load_state_dict(_in_timm_names(weights, into))
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{origin} does not hold the weights of this ConvNeXt: {error}") from error


def torchvision_to_timm(name: str) -> str | None:
    """Translate the name of a weight of torchvision's ConvNeXt behind `features`; None where it is none.

    torchvision counts stem, stages and downsamplers in one row; odd places are stages.
    """
    match = re.fullmatch(r"(\d)\.(\d+)\.(.*)", name)
    if match is None:
        return None
    place, index, inner = match.groups()
    if place == "0":
        return f"stem.{index}.{inner}"
    if int(place) % 2 == 0:
        return f"stages.{int(place) // 2}.downsample.{index}.{inner}"
    for theirs, ours in INSIDE_TORCHVISION_BLOCKS.items():
        inner = re.sub(rf"^{re.escape(theirs)}(?=\.|$)", ours, inner)
    return f"stages.{int(place) // 2}.blocks.{index}.{inner}"


def _in_timm_names(weights: dict[str, Any], model: ConvNeXt) -> dict[str, Tensor]:
    """Translate the names of torchvision and of the ConvNeXt authors, and leave out the classifier."""
    if any(name.startswith("features.") for name in weights):
        renamed = {torchvision_to_timm(name.removeprefix("features.")): tensor for name, tensor in weights.items()}
        # torchvision's layer scale is (C, 1, 1), timm's is (C,).
        return {
            name: tensor.flatten() if name.endswith(".gamma") else tensor for name, tensor in renamed.items() if name
        }
    if not any(name.startswith("stem.") for name in weights):
        from timm.models.convnext import checkpoint_filter_fn  # here: timm takes seconds to import

        weights = checkpoint_filter_fn(weights, model)  # type: ignore[no-untyped-call]
    return {name: tensor for name, tensor in weights.items() if not name.startswith("head.")}


def _from_hub(name: str) -> dict[str, Tensor]:
    import timm

    try:
        with model_hub():
            model = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:
        raise not_found(
            f"ConvNeXt {name}", error, option="--weights FILE", otherwise="use the preset tiny, which needs none"
        ) from error
    return model.state_dict()


def _from_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no file of ConvNeXt weights lies at {path}")
    return parse_weights(path.read_bytes(), str(path))
