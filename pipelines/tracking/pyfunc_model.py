"""The model as MLflow loads it; a copy of this file is stored with the checkpoint.

model = mlflow.pyfunc.load_model("models:/upfusion@champion")
fused_BHW = model.predict({"a": a_BHW, "b": b_BHW}, params={"task": "ct_mri"})
"""

from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray

import upfusion
from upfusion.guidance import check_balance


class LumaFuser:
    """Fuses batches of luma with the checkpoint stored beside it."""

    def load_context(self, context: PythonModelContext) -> None:
        self.model = upfusion.load(context.artifacts["checkpoint"])

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002  # MLflow passes it
        model_input: dict[str, NDArray[np.float32]],
        params: dict[str, Any] | None = None,
    ) -> NDArray[np.float32]:
        """Fuse the lumas `a` and `b`, (B, H, W) in [0, 1], into unclamped luma of the same shape.

        `params` may hold `task`, `prompt` and `balance`, as in `FusionModel.fuse`. Raises ValueError when the shapes
        differ and as `Guidance.embed` does.
        """
        a_BHW, b_BHW = model_input["a"], model_input["b"]
        if a_BHW.shape != b_BHW.shape:
            raise ValueError(f"sources differ in shape: a is {a_BHW.shape}, b is {b_BHW.shape}")
        given = params or {}
        text_T = self.model.guidance.embed(given.get("task") or "ir_visible", given.get("prompt"))
        a_B1HW, b_B1HW = (torch.from_numpy(np.ascontiguousarray(x_BHW))[:, None] for x_BHW in (a_BHW, b_BHW))
        balance = float(given.get("balance") or 0.0)
        check_balance(balance, self.model.checkpoint)
        balance_B = torch.full((len(a_BHW),), balance)
        fused_B1HW = self.model.fuse_lumas(a_B1HW, b_B1HW, text_T.expand(len(a_BHW), -1), balance_B)
        fused_BHW: NDArray[np.float32] = fused_B1HW[:, 0].float().cpu().numpy()
        return fused_BHW


# MLflow warns at every load about type hints that are not lists, in the class itself and when registering it.
del LumaFuser.predict.__annotations__["model_input"]


class RegisteredModel(LumaFuser, PythonModel):
    """The same as the subclass that MLflow requires."""


set_model(RegisteredModel())
