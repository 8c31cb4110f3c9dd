"""infra/kubernetes: nothing that an API server would refuse or drop, and what a cluster must never lack."""

import copy
import json
import os
import re
import subprocess
from collections.abc import Callable

import pytest
import yaml

from pipelines.errors.redaction import holds_credentials

from .manifests import KUBERNETES, OVERLAYS, Manifest, built, clusters, pods, problems, written


def one(overlay: str, kind: str, name: str) -> Manifest:
    found = [m for m in built(overlay) if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def of_ray(manifest: Manifest) -> bool:
    return manifest["apiVersion"].startswith("ray.io/")


# Apart, because one is skipped where KubeRay's schemas are missing, the other where Kubernetes' are.
@pytest.mark.parametrize(("whose", "at_least"), [("ray", 4), ("core", 12)])
def test_every_written_manifest_keeps_its_schema(whose, at_least):
    manifests = [(name, manifest) for name, manifest in written() if of_ray(manifest) == (whose == "ray")]
    assert len(manifests) >= at_least
    assert {name: found for name, manifest in manifests if (found := problems(manifest))} == {}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(("whose", "at_least"), [("ray", 4), ("core", 9)])
def test_every_built_manifest_keeps_its_schema(overlay, whose, at_least):
    manifests = [manifest for manifest in built(overlay) if of_ray(manifest) == (whose == "ray")]
    assert len(manifests) >= at_least
    found = {f"{manifest['kind']} {manifest['metadata']['name']}": problems(manifest) for manifest in manifests}
    assert {name: said for name, said in found.items() if said} == {}


def misspell(manifest: Manifest) -> None:
    manifest["spec"]["shutdownAfterJobFinish"] = True


def misspell_deep(manifest: Manifest) -> None:
    group = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    group["template"]["spec"]["containers"][0]["resource"] = {}


def mistype(manifest: Manifest) -> None:
    manifest["spec"]["backoffLimit"] = "3"


def leave_out_the_template(manifest: Manifest) -> None:
    del manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]


def choose_the_impossible(manifest: Manifest) -> None:
    manifest["spec"]["rayClusterSpec"]["authOptions"]["mode"] = "password"


def leave_out_the_specification(manifest: Manifest) -> None:
    del manifest["spec"]


@pytest.mark.parametrize(
    "spoil",
    [
        misspell,
        misspell_deep,
        mistype,
        leave_out_the_template,
        choose_the_impossible,
        leave_out_the_specification,
    ],
)
def test_a_spoilt_job_does_not_pass(spoil: Callable[[Manifest], None]):
    job = copy.deepcopy(one("aws", "RayJob", "fuse"))
    assert problems(job) == []
    spoil(job)
    assert len(problems(job)) == 1


def test_a_spoilt_network_policy_does_not_pass():
    policy = copy.deepcopy(one("aws", "NetworkPolicy", "operator"))
    assert problems(policy) == []
    policy["spec"]["ingres"] = policy["spec"].pop("ingress")
    assert "ingres" in problems(policy)[0]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_job_has_the_cluster_that_jobs_are_submitted_to(overlay):
    [cluster] = clusters(one(overlay, "RayCluster", "upfusion"))
    jobs = [manifest for manifest in built(overlay) if manifest["kind"] in ("RayJob", "RayCronJob")]
    assert {manifest["metadata"]["name"] for manifest in jobs} == {"fuse", "train", "nightly"}
    # Two of them would not fit into a laptop; the jobs' own ones start with the jobs.
    assert cluster.get("suspend", False) == (overlay == "local")
    for job in jobs:
        assert clusters(job) == [{name: value for name, value in cluster.items() if name != "suspend"}]
    # What the overlay changes has reached the copies.
    groups = [group["groupName"] for group in cluster["workerGroupSpecs"]]
    assert groups == (["cpu"] if overlay == "local" else ["cpu", "gpu"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_jobs_wait_for_a_person_end_and_leave_no_cluster_behind(overlay):
    for manifest in built(overlay):
        if manifest["kind"] not in ("RayJob", "RayCronJob"):
            continue
        assert manifest["spec"]["suspend"] is True
        job = manifest["spec"].get("jobTemplate", manifest["spec"])
        assert job["shutdownAfterJobFinishes"] is True
        assert job["ttlSecondsAfterFinished"] > 0
        assert job["activeDeadlineSeconds"] > 0
        assert job["backoffLimit"] > 0
        # Where a retry, which is another cluster, finds what was done.
        assert re.search(r"--out s3://\S+", job["entrypoint"])
    night = one(overlay, "RayCronJob", "nightly")["spec"]["jobTemplate"]
    assert night["activeDeadlineSeconds"] * (1 + night["backoffLimit"]) < 24 * 3600


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_is_root_and_every_pod_is_bounded(overlay):
    templates = [pod for manifest in built(overlay) for pod in pods(manifest)]
    assert len(templates) >= 8
    for template in templates:
        spec = template["spec"]
        [container] = spec["containers"]
        security = {**spec.get("securityContext", {}), **container["securityContext"]}
        assert security["runAsNonRoot"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert resources["requests"]["cpu"]
        name, _, tag = container["image"].rpartition("/")[2].partition(":")
        assert name
        assert tag not in ("", "latest")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ray_pods_have_the_environment_and_secrets_by_reference_alone(overlay):
    environment = one(overlay, "ConfigMap", "upfusion-environment")["data"]
    # A job that phones a vendor or a hub would hang at the network policy.
    assert environment["HF_HUB_OFFLINE"] == environment["TRANSFORMERS_OFFLINE"] == "1"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == environment["DO_NOT_TRACK"] == "true"
    assert environment["MLFLOW_TRACKING_URI"].startswith("http")
    if "AWS_ENDPOINT_URL" in environment:
        assert environment["AWS_REQUEST_CHECKSUM_CALCULATION"] == "when_required"
        assert environment["AWS_RESPONSE_CHECKSUM_VALIDATION"] == "when_required"
    for manifest in built(overlay):
        assert manifest["kind"] != "Secret"
        for cluster in clusters(manifest):
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                [container] = group["template"]["spec"]["containers"]
                assert {"configMapRef": {"name": "upfusion-environment"}} in container["envFrom"]
                assert group["template"]["spec"]["serviceAccountName"] == "upfusion"
                assert "env" not in container


def test_no_file_holds_a_credential():
    files = [file for file in KUBERNETES.parent.rglob("*") if file.is_file() and file.parent.name != "__pycache__"]
    assert len(files) > 25
    for file in files:
        text = file.read_text()
        assert not re.search(r"AKIA[0-9A-Z]{16}|-----BEGIN|aws_secret_access_key\s*=\s*\w", text), file
        uris = [word for word in re.findall(r"\w+://\S+", text) if not {"$", "{"} & set(word)]
        assert not any(map(holds_credentials, uris)), file


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_goes_out_but_to_what_an_overlay_names(overlay):
    policies = [manifest for manifest in built(overlay) if manifest["kind"] == "NetworkPolicy"]
    closed = next(policy["spec"] for policy in policies if policy["metadata"]["name"] == "nothing")
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies:
        for rule in policy["spec"].get("egress", []):
            assert rule["to"], policy["metadata"]["name"]  # an empty one would be everywhere
            for peer in rule["to"]:
                assert "0.0.0.0/0" not in json.dumps(peer)
                assert "::/0" not in json.dumps(peer)
            beyond = [peer for peer in rule["to"] if "ipBlock" in peer]
            assert overlay == "aws" or not beyond
            assert not beyond or rule["ports"] == [{"protocol": "TCP", "port": 443}]


def test_the_head_stays_off_machines_that_may_go():
    [cluster] = clusters(one("aws", "RayCluster", "upfusion"))
    head, workers = cluster["headGroupSpec"]["template"]["spec"], cluster["workerGroupSpecs"]
    assert "tolerations" not in head
    assert head["nodeSelector"] == {"karpenter.sh/capacity-type": "on-demand"}
    assert "automountServiceAccountToken" not in head
    for group in workers:
        # Who breaks out of a worker must not scale the cluster.
        assert group["template"]["spec"]["automountServiceAccountToken"] is False
        keys = {toleration["key"] for toleration in group["template"]["spec"]["tolerations"]}
        assert {"spot", "cloud.google.com/gke-spot"} <= keys
        assert ("nvidia.com/gpu" in keys) == (group["groupName"] == "gpu")
    limits = workers[1]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"


def test_the_role_stands_in_the_aws_overlay_alone():
    assert "annotations" not in one("local", "ServiceAccount", "upfusion")["metadata"]
    annotations = one("aws", "ServiceAccount", "upfusion")["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/role-arn"].endswith(":role/upfusion")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_components_add_a_quota_and_let_prometheus_in(overlay, tmp_path):
    whole = built(overlay)  # skips without kubectl
    relative = os.path.relpath(KUBERNETES, tmp_path.resolve())
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{relative}/overlays/{overlay}"],
        "components": [f"{relative}/monitoring", f"{relative}/quota"],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    added = [one for one in yaml.load_all(done.stdout, yaml.CSafeLoader) if one and one not in whole]
    by_kind = {one["kind"]: one for one in added}
    assert set(by_kind) == {"NetworkPolicy", "ResourceQuota"}
    assert all(one["metadata"]["namespace"] == "upfusion" and problems(one) == [] for one in added)
    (rule,) = by_kind["NetworkPolicy"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert all("namespaceSelector" in peer for peer in rule["from"])


def test_the_quota_has_room_for_what_its_comment_says():
    hard = next(m for _, m in written() if m["kind"] == "ResourceQuota")["spec"]["hard"]
    [cluster] = clusters(one("aws", "RayCluster", "upfusion"))
    gpu = next(group for group in cluster["workerGroupSpecs"] if group["groupName"] == "gpu")
    asked = [
        group["template"]["spec"]["containers"][0]["resources"]["requests"] for group in cluster["workerGroupSpecs"]
    ]
    head = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    autoscaler = cluster["autoscalerOptions"]["resources"]["requests"]
    assert autoscaler == {"cpu": "500m", "memory": "512Mi"}
    workers = 8 * int(asked[0]["cpu"]) + 2 * gpu["maxReplicas"] * int(asked[1]["cpu"])
    # The standing cluster's head, and those of two jobs.
    assert workers + 3 * (int(head["cpu"]) + 0.5) <= float(hard["requests.cpu"])
    assert int(hard["requests.nvidia.com/gpu"]) == 2 * gpu["maxReplicas"]
