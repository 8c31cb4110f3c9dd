"""Fuse two images with ONNX Runtime alone: python fuse_onnx.py tiny.onnx visible.jpg infrared.png fused.png.

It needs `pip install onnxruntime numpy pillow`; `upfusion export-model tiny` writes the model.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def read(path: str) -> np.ndarray:
    """Read an image as RGB in [0, 1], (H, W, 3)."""
    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255


def fuse(model: str, a: np.ndarray, b: np.ndarray, balance: float = 0.0, prompt: str = "ir_visible") -> np.ndarray:
    """Fuse two images in [0, 1] of one size, keeping the colour of `a`."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    given = {"a": (a @ LUMA)[None, None], "b": (b @ LUMA)[None, None]}
    inputs = {one.name for one in session.get_inputs()}
    if "text" in inputs:
        prompts = json.loads(session.get_modelmeta().custom_metadata_map["upfusion.prompts"])
        given["text"] = np.array([prompts[prompt]], np.float32)
    if "balance" in inputs:
        given["balance"] = np.array([balance], np.float32)
    fused = session.run(["fused"], given)[0][0, 0]
    change = np.clip(fused - a @ LUMA, -a.min(-1), 1 - a.max(-1))
    return a + change[..., None]


if __name__ == "__main__":
    model, a_path, b_path, out = sys.argv[1:]
    image = fuse(model, read(a_path), read(b_path))
    Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(out)
