"""Small networks as ONNX files, for tests."""

from collections.abc import Mapping, Sequence

import onnx
from onnx import TensorProto, helper

ANY = ("height", "width")


def make_onnx(
    operator: str = "Mean",
    *,
    channels: int = 1,
    size: Sequence[int | str] = ANY,
    inputs: Sequence[str] = ("a", "b"),
    out_channels: int | None = None,
    element: int = TensorProto.FLOAT,
    rank: int = 4,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return a network that joins its inputs by one operator of ONNX; fewer channels come out as their mean."""
    shape = [1, channels, *size][4 - rank :]
    made = [1, out_channels or channels, *size][4 - rank :]
    nodes = [helper.make_node(operator, list(inputs), ["joined"])]
    if out_channels == 1 < channels:
        nodes.append(helper.make_node("ReduceMean", ["joined", "axes"], ["fused"], keepdims=1))
    else:
        nodes.append(helper.make_node("Identity", ["joined"], ["fused"]))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, element, shape) for name in inputs],
        [helper.make_tensor_value_info("fused", element, made)],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])] if out_channels == 1 < channels else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    return model.SerializeToString()
