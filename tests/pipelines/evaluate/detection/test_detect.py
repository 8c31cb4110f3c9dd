"""Detectors out of files of weights, and what they find."""

import argparse
import builtins
import io
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torchvision.models import get_model

from pipelines.evaluate.detection.average_precision import average_precision
from pipelines.evaluate.detection.detect import DetectorConfig, architectures, detector_digest, load_detector
from tests.detector import ARCHITECTURE, draw_people, make_detector

# Two megabytes of weights, for tests of files.
SMALL = "ssdlite320_mobilenet_v3_large"
CONFIG = DetectorConfig(SMALL)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return untrained(SMALL, 2)


def untrained(architecture: str, classes: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return get_model(architecture, weights=None, weights_backbone=None, num_classes=classes).state_dict()


def pickled(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.extended
def test_a_trained_detector_finds_people_that_it_has_not_seen(tmp_path, trained_detector) -> None:
    rng = np.random.default_rng(1)
    scenes = [draw_people(rng) for _ in range(16)]
    truths = [people for _, people in scenes]
    reached = []
    for file in (make_detector(tmp_path / "untrained.safetensors"), trained_detector):
        detector = load_detector(DetectorConfig(ARCHITECTURE), file.read_bytes(), str(file))
        reached.append(average_precision(truths, [detector.detect(pixels) for pixels, _ in scenes]))
    before, after = reached
    assert before.ap50 is not None
    assert after.ap50 is not None
    assert before.ap50 < 0.1
    assert after.ap50 > 0.6
    assert after.people == sum(len(people.boxes) for people in truths)


def test_depth_and_colour_do_not_matter() -> None:
    detector = load_detector(DetectorConfig(SMALL), save(untrained(SMALL, 3)))
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    found = detector.detect(pixels)
    assert found.dtype == np.float64
    assert len(found) > 0
    assert (found[:, :4] >= 0).all()
    assert (found[:, :4] <= np.array([*pixels.shape[::-1]] * 2)).all()
    assert ((found[:, 4] > 0) & (found[:, 4] <= 1)).all()
    for same in (np.repeat(pixels[..., None], 3, axis=2), pixels.astype(np.uint16) * 257):
        np.testing.assert_array_equal(detector.detect(same), found)


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)])
def test_only_people_are_found(shape) -> None:
    data = save(untrained(SMALL, 3))
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    first, second = (load_detector(DetectorConfig(SMALL, label), data) for label in (1, 2))
    found = first.network([torch.from_numpy(np.dstack([pixels] * 3)[..., :3] / 255).float().permute(2, 0, 1)])[0]
    assert (len(first.detect(pixels)), len(second.detect(pixels))) == tuple(
        int((found["labels"] == label).sum()) for label in (1, 2)
    )
    assert first.digest != second.digest


@pytest.mark.parametrize("architecture", architectures())
def test_the_classes_are_those_of_the_weights(architecture) -> None:
    with torch.device("meta"):
        weights = untrained(architecture, 7)
    from pipelines.evaluate.detection.detect import _classes

    assert _classes(architecture, weights, "the file") == 7


@pytest.mark.parametrize(
    "wrap", [lambda w: w, lambda w: {"model": w, "epoch": 3}, lambda w: {"state_dict": w, "b": [1]}]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_pickle_of_tensors_is_loaded(weights, wrap, prefix) -> None:
    detector = load_detector(CONFIG, pickled(wrap({f"{prefix}{name}": tensor for name, tensor in weights.items()})))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in detector.network.state_dict().items())
    assert not detector.network.training


def test_weights_without_counts_of_batches_and_with_the_names_of_older_files() -> None:
    """So torchvision's COCO weights are: made before its pyramids were renamed."""
    older = {
        re.sub(r"(inner_blocks|layer_blocks)\.(\d)\.0\.", r"\1.\2.", name).replace(
            "head.conv.0.0.", "head.conv."
        ): tensor
        for name, tensor in untrained(ARCHITECTURE, 2).items()
        if not name.endswith("num_batches_tracked")
    }
    assert "backbone.fpn.inner_blocks.0.weight" in older
    assert "rpn.head.conv.weight" in older
    load_detector(DetectorConfig(ARCHITECTURE), save(older))


class Malice:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return builtins.open, (str(self.mark), "w")


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, weights) -> None:
    mark = tmp_path / "executed"
    for data in (pickled({"model": weights, "malice": Malice(mark)}), pickle.dumps(Malice(mark))):
        with pytest.raises(ValueError, match=r"det\.pth.*weights.*pickle"):
            load_detector(CONFIG, data, "det.pth")
        assert not mark.exists()
    pickle.loads(data).close()
    assert mark.exists()  # it does run where it is let


def test_a_checkpoint_with_more_than_tensors_is_refused(weights) -> None:
    with pytest.raises(ValueError, match="tensors"):
        load_detector(CONFIG, pickled({"model": weights, "args": argparse.Namespace(lr=1)}), "det.pth")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"model": {}}, {"model": {"a": 1}}, {1: torch.zeros(1)}])
def test_a_file_without_weights_is_refused(content) -> None:
    with pytest.raises(ValueError, match=r"det\.pth.*weights"):
        load_detector(CONFIG, pickled(content), "det.pth")


def test_wrong_weights_are_named(weights) -> None:
    name = next(iter(weights))
    other = "backbone.body.conv1.weight"
    for wrong, said in (
        ({one: tensor for one, tensor in weights.items() if one != name}, rf'Missing key.*"{name}"'),
        (weights | {other: torch.zeros(1)}, rf'Unexpected key.*"{other}"'),
        (weights | {name: torch.zeros(2, 3)}, rf"size mismatch for {name}: .*\[2, 3\]"),
        ({other: torch.zeros(1)}, rf"missing are backbone.* and \d+ more; unknown are {other}$"),
    ):
        with pytest.raises(ValueError, match=rf"(?s)det\.pth.*{SMALL}.*{said}"):
            load_detector(CONFIG, save(wrong), "det.pth")


def test_weights_of_another_detector_are_refused(weights) -> None:
    with pytest.raises(ValueError, match=r"weights.*fasterrcnn_resnet50_fpn"):
        load_detector(DetectorConfig(), save(weights))


def test_a_label_or_an_architecture_that_is_not_there_is_refused(weights) -> None:
    with pytest.raises(ValueError, match=r"label 2.*\b1\b"):
        load_detector(DetectorConfig(SMALL, person=2), save(weights))
    with pytest.raises(ValueError, match=r"detector 'yolov5'.*fasterrcnn_mobilenet_v3_large"):
        DetectorConfig("yolov5")
    with pytest.raises(ValueError, match=r"\b0\b.*label.*fasterrcnn_resnet50_fpn.*\b1\b"):
        DetectorConfig(person=0)
    assert DetectorConfig("fcos_resnet50_fpn", person=0).person == 0


def test_the_digest_is_that_of_architecture_label_and_file(weights) -> None:
    data = save(weights)
    changed = DetectorConfig("ssd300_vgg16"), DetectorConfig(SMALL, 2)
    digests = {detector_digest(config, data) for config in (CONFIG, *changed)} | {detector_digest(CONFIG, data + b"\0")}
    assert len(digests) == 4
    assert load_detector(CONFIG, data).digest == detector_digest(CONFIG, data)


def test_nothing_is_downloaded(weights, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a download was begun")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    load_detector(CONFIG, save(weights))


def test_the_files_of_the_tests_are_safetensors(tmp_path) -> None:
    assert len(load_file(make_detector(tmp_path / "random.safetensors"))) > 100
