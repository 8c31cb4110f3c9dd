"""Checkpoints in MLflow's model registry: a version of a registered model is one checkpoint.

It holds the safetensors file, a copy of `pyfunc_model.py`, the code that fuses with it, and one of the package
`upfusion`, which that imports and no package index has to provide. Nothing is pickled.
"""

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as version_of
from pathlib import Path

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

import upfusion
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.tracking.mlflow_client import ONE_MINUTE, SHORT, mlflow_retry_limits, quiet_mlflow, reason_of
from upfusion.checkpoint import Checkpoint, parse_checkpoint

CODE = Path(__file__).with_name("pyfunc_model.py")
# MLflow stores the files of Python models under "artifacts".
FOLDER, FILE = "artifacts", "checkpoint.safetensors"
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "numpy",
    "scipy",
    "pillow",
    "opencv-python-headless",
    "safetensors",
    "huggingface_hub",
    "pyyaml",
    "mlflow",
)
"""What the package and `pyfunc_model.py` import."""
DIGEST_TAG = "upfusion.digest"
MODEL_URI = re.compile(r"models:/(?P<name>[^/:]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))")


def register_model(data: bytes, name: str, *, run_id: str, alias: str | None = None) -> str:
    """Register the bytes of a checkpoint file, the result of a run, as a version of the model `name`.

    Registers where MLflow's tracking URI points and returns the version. Registering the same checkpoint from the
    same run again gives the same version. `alias` is moved to it. Raises ValueError for bytes that are no trained
    checkpoint, and UsageError if MLflow refuses or cannot be reached.
    """
    checkpoint = parse_checkpoint(data, name)
    if not checkpoint.provenance.trained:
        raise ValueError(f"the model {checkpoint.name} is untrained: it would produce noise")
    quiet_mlflow()
    with mlflow_retry_limits(ONE_MINUTE), _as_usage_errors(f"model {name!r} cannot be registered", _registry()):
        client = mlflow.MlflowClient()
        version = _registered_before(client, name, run_id, checkpoint.digest)
        if version is None:
            logged = _log_model(client, data, name, run_id)
            # Tagged on creation, so that a job that is killed here finds it again.
            version = str(mlflow.register_model(logged, name, tags=_tags(checkpoint)).version)
        if alias:
            client.set_registered_model_alias(name, alias, version)
        return version


def read_registered(uri: str, tracking_uri: str | None = None) -> bytes:
    """Read the checkpoint file behind `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    The registry is MLFLOW_REGISTRY_URI if set, else that of `tracking_uri` or MLFLOW_TRACKING_URI.
    Raises UsageError when there is no such checkpoint or it cannot be read.
    """
    quiet_mlflow()
    registry = _registry(tracking_uri)
    with mlflow_retry_limits(SHORT), _as_usage_errors(f"model {uri!r} cannot be read", registry):
        client = mlflow.MlflowClient(tracking_uri, registry)
        name, version = _find(client, uri, registry)
        # Not through models:/, which MLflow resolves with its global tracking URI.
        folder = storage.join(client.get_model_version_download_uri(name, version), FOLDER)
        files = mlflow.artifacts.list_artifacts(folder, tracking_uri=tracking_uri)
        if FILE not in {Path(file.path).name for file in files}:
            raise UsageError(
                f"no model {uri!r}: version {version} of {name!r} holds no {FOLDER}/{FILE}; choose one registered by "
                "upfusion"
            )
        with tempfile.TemporaryDirectory(prefix="upfusion-") as here:
            path = mlflow.artifacts.download_artifacts(
                storage.join(folder, FILE), dst_path=here, tracking_uri=tracking_uri
            )
            return Path(path).read_bytes()


def _registered_before(client: mlflow.MlflowClient, name: str, run_id: str, digest: str) -> str | None:
    for known in client.search_model_versions(f"run_id = '{run_id}'"):
        if known.name == name and known.tags.get(DIGEST_TAG) == digest:
            return str(known.version)
    return None


def _log_model(client: mlflow.MlflowClient, data: bytes, name: str, run_id: str) -> str:
    """Store the model with the run and return its URI."""
    # Model.log alone would use the active experiment.
    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, name=name, source_run_id=run_id)
    with tempfile.TemporaryDirectory(prefix="upfusion-") as here, warnings.catch_warnings():
        # MLflow suggests an input example, with which it would load the model and fuse it.
        warnings.simplefilter("ignore", UserWarning)
        file = Path(here) / FILE
        file.write_bytes(data)
        Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            model_id=model.model_id,
            run_id=run_id,
            python_model=str(CODE),
            artifacts={"checkpoint": str(file)},
            signature=_signature(),
            code_paths=[str(_copy_package(Path(here)))],
            # Given explicitly; otherwise MLflow loads the model to infer them. No index has local versions (+cpu).
            pip_requirements=[f"{name}=={version_of(name).partition('+')[0]}" for name in PACKAGES],
        )
    return f"models:/{model.model_id}"


def _copy_package(folder: Path) -> Path:
    """Copy the package `upfusion` without the checkpoints that ship with it: a registered model has its own."""
    package = Path(upfusion.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__", "checkpoints")
    return Path(shutil.copytree(package, folder / package.name, ignore=ignored))


def _signature() -> ModelSignature:
    luma_a, luma_b, fused = (TensorSpec(np.dtype(np.float32), (-1, -1, -1), name) for name in ("a", "b", "fused"))
    params = ParamSchema(
        [
            ParamSpec("task", "string", "ir_visible"),
            ParamSpec("prompt", "string", None),
            ParamSpec("balance", "double", 0.0),
        ]
    )
    return ModelSignature(Schema([luma_a, luma_b]), Schema([fused]), params)


def _tags(checkpoint: Checkpoint) -> dict[str, str]:
    """Return tags: the digest, the checkpoint's name, and the metrics on every test set."""
    measured = {
        # MLflow does not allow parentheses or plus signs in keys.
        "upfusion.metrics." + re.sub(r"[^\w.-]+", "_", test_set).strip("_"): ", ".join(
            f"{metric} {value:.4g}" for metric, value in means.items()
        )
        for test_set, means in checkpoint.provenance.metrics.items()
    }
    return {DIGEST_TAG: checkpoint.digest, "upfusion.model": checkpoint.name} | measured


def _find(client: mlflow.MlflowClient, uri: str, registry: str) -> tuple[str, str]:
    """Return name and version of a registered model."""
    named = MODEL_URI.fullmatch(uri)
    if named is None:
        raise UsageError(f"no model {uri!r}: expected models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, version = named.group("name", "alias", "version")
    try:
        registered = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UsageError(
            f"no model {uri!r}: no {name!r} is registered at {storage.redact(registry)}. Check the name, or "
            "choose the MLflow server with MLFLOW_TRACKING_URI or --tracking-uri"
        ) from error
    if alias:
        if alias not in registered.aliases:
            there = ", ".join(sorted(registered.aliases)) or "none"
            raise UsageError(f"no model {uri!r}: {name!r} has no alias {alias!r} (it has: {there})")
        return name, str(registered.aliases[alias])
    try:
        return name, str(client.get_model_version(name, version).version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        newest = max((int(one.version) for one in registered.latest_versions), default="none")
        raise UsageError(f"no model {uri!r}: {name!r} has no version {version} (the newest is {newest})") from error


def _registry(tracking_uri: str | None = None) -> str:
    return os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri or mlflow.get_tracking_uri()


@contextmanager
def _as_usage_errors(what: str, registry: str) -> Iterator[None]:
    """Convert errors of MLflow, its database or its artifact store to UsageErrors."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        message = storage.redact(f"{what} (MLflow at {registry}): {reason_of(error)}")
        raise UsageError(message) from error
