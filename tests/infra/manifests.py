"""Manifests as an API server would look at them: built by Kustomize, held strictly against the schemas."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "infra" / "kubernetes"
CRDS = ROOT.parent / "shared" / "kuberay"
OVERLAYS = ("local", "aws")
# The release of Kubernetes whose schemas the core objects are held against.
CORE_VERSION = "1.37"

Manifest = dict[str, Any]


@cache
def built(overlay: str) -> list[Manifest]:
    """Build an overlay; skips where there is no kubectl to do it."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, whose Kustomize builds the overlays, is not installed")
    folder = str(KUBERNETES / "overlays" / overlay)
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]


def written() -> list[tuple[str, Manifest]]:
    """Give every manifest as it stands in its file, by the file's name, kustomizations and their patches left out."""
    files = sorted(KUBERNETES.rglob("*.yaml"))
    return [
        (str(file.relative_to(KUBERNETES)), manifest)
        for file in files
        if file.name != "kustomization.yaml"
        for manifest in yaml.load_all(file.read_text(), yaml.CSafeLoader)
    ]


def problems(manifest: Manifest) -> list[str]:
    """Say what an API server that takes no unknown field would refuse."""
    if manifest["apiVersion"].startswith("ray.io/"):
        found = jsonschema.Draft7Validator(_crd_schema(manifest["kind"])).iter_errors(manifest)
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]
    validation = pytest.importorskip("kubernetes_validate", reason="the package kubernetes-validate is not installed")
    try:
        validation.validate(manifest, CORE_VERSION, strict=True)
    except validation.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    return []


def clusters(manifest: Manifest) -> list[Manifest]:
    """Give the specification of the Ray cluster that a manifest makes, if any."""
    spec = manifest.get("spec", {})
    kinds = {
        "RayCluster": lambda: spec,
        "RayJob": lambda: spec["rayClusterSpec"],
        "RayCronJob": lambda: spec["jobTemplate"]["rayClusterSpec"],
    }
    return [kinds[manifest["kind"]]()] if manifest["kind"] in kinds else []


def pods(manifest: Manifest) -> list[Manifest]:
    """Give every pod template of a manifest."""
    templates = [
        group["template"]
        for cluster in clusters(manifest)
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    ]
    if manifest["kind"] in ("Job", "Deployment", "StatefulSet"):
        templates.append(manifest["spec"]["template"])
    return templates


@cache
def _crd_schema(kind: str) -> dict[str, Any]:
    file = CRDS / f"ray.io_{kind.lower()}s.yaml"
    if not file.exists():
        pytest.skip(f"KubeRay's definition of a {kind} does not lie beside the checkout ({file})")
    versions = yaml.load(file.read_bytes(), yaml.CSafeLoader)["spec"]["versions"]
    schema = next(version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1")
    del schema["properties"]["status"]  # the operator's to write
    _make_strict(schema)
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return schema


def _make_strict(schema: Any) -> None:
    """Refuse unknown properties at every depth, and say in JSON Schema's words what Kubernetes says in its own."""
    if isinstance(schema, list):
        for part in schema:
            _make_strict(part)
    elif isinstance(schema, dict):
        if schema.pop("x-kubernetes-int-or-string", False) is True:
            schema.pop("type", None)
            schema["type"] = ["integer", "string"]
            schema.pop("anyOf", None)
        if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for part in list(schema.values()):
            _make_strict(part)
