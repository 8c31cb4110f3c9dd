"""infra/docker, infra/compose, infra/runtime: what stands in them fits together and with the package."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from ray.runtime_env import RuntimeEnv

from upfusion.version import __version__

from .manifests import ROOT, built, clusters, pods

INFRA = ROOT / "infra"


def tool(name: str) -> str:
    """The path of a program, of this environment or of the machine; skips where there is none."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def pinned() -> dict[str, str]:
    lines = (INFRA / "docker" / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def compose() -> dict[str, Any]:
    return yaml.safe_load((INFRA / "compose" / "compose.yaml").read_text())


def images() -> set[str]:
    """Images of ours that manifests and compose name, without registry."""
    templates = [pod for overlay in ("local", "aws") for manifest in built(overlay) for pod in pods(manifest)]
    named = [pod["spec"]["containers"][0]["image"] for pod in templates]
    named += [service["image"] for service in compose()["services"].values()]
    return {image.rpartition("/")[2] for image in named if "upfusion" in image}


def test_the_dockerfile_passes_its_linter():
    done = subprocess.run(
        [tool("hadolint"), "Dockerfile"], cwd=INFRA / "docker", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_dockerfile_copies_is_there_and_not_ignored():
    text = (INFRA / "docker" / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE) for word in line.split()}
    assert {"pyproject.toml", "upfusion", "infra/docker/constraints.txt"} <= copied
    let_in = {
        line.removeprefix("!")
        for line in (INFRA / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


def test_pinned_versions_are_what_the_package_asks_for():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    versions = pinned()
    for requirement in map(Requirement, wanted):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(Version(version)), f"{requirement}, but {version} is pinned"


def test_versions_are_the_same_everywhere():
    assert {image.partition(":")[2] for image in images()} == {__version__}
    assert {image.partition(":")[0] for image in images()} == {"upfusion", "upfusion-cuda", "upfusion-mlflow"}
    said = [cluster["rayVersion"] for overlay in ("local", "aws") for m in built(overlay) for cluster in clusters(m)]
    assert set(said) == {pinned()["ray"]}


def test_compose_keeps_its_schema():
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, "compose.yaml"], cwd=INFRA / "compose", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_compose_asks_for_secrets_and_publishes_to_this_machine_alone():
    text = (INFRA / "compose" / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    assert asked == set(re.findall(r"\$\{(\w+)", text)), "a variable without :? is empty where it is not set"
    example = dict(line.split("=") for line in _settings(INFRA / "compose" / ".env.example"))
    assert set(example) == asked
    assert not any(example.values())
    services = compose()["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_waits_for_what_it_needs():
    services = compose()["services"]
    for name, service in services.items():
        image, _, tag = service["image"].rpartition("/")[2].partition(":")
        assert image
        assert tag not in ("", "latest"), name
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other]
            else:
                assert services[other]["restart"] == "no"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose()["volumes"] or (INFRA / "compose" / source).resolve().is_file(), source


@pytest.mark.parametrize("name", ["image", "plain"])
def test_ray_takes_the_runtime_environment(name):
    given = yaml.safe_load((INFRA / "runtime" / f"{name}.yaml").read_text())
    taken = RuntimeEnv(working_dir="s3://bucket/source.zip", **given)
    assert taken["excludes"] == given["excludes"]
    for path in given["excludes"]:
        assert path.startswith("/"), "without a slash it would also leave out folders of that name further down"
        assert path.strip("/") not in ("jobs", "pipelines", "upfusion", "pyproject.toml")
    secret = re.compile("KEY|SECRET|TOKEN|PASSWORD|_URI|ENDPOINT")
    assert not [variable for variable in given["env_vars"] if secret.search(variable)]


def _settings(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
