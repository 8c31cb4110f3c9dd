"""infra/aws: policies that allow what a job does, and no more."""

import json
from typing import Any

import pytest
import yaml

from .manifests import ROOT

AWS = ROOT / "infra" / "aws"
READ = {"s3:ListBucket", "s3:GetObject"}
WRITE = {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}


def statements(name: str) -> list[dict[str, Any]]:
    policy = json.loads((AWS / f"{name}-policy.json").read_text())
    assert set(policy) == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        assert statement["Sid"].isalnum()
    return policy["Statement"]


def actions(statement: dict[str, Any]) -> set[str]:
    given = statement["Action"]
    return {given} if isinstance(given, str) else set(given)


@pytest.mark.parametrize(
    ("name", "bucket", "objects", "allowed"),
    [
        ("source", "upfusion-archive", "*", READ),
        ("destination", "upfusion-results", "*", READ | WRITE),
        ("mlflow", "upfusion-mlflow", "artifacts/*", READ | WRITE),
    ],
)
def test_a_policy_is_about_one_bucket_and_names_every_action(name, bucket, objects, allowed):
    of_bucket, of_objects = statements(name)
    assert actions(of_bucket) == {"s3:ListBucket"}
    assert of_bucket["Resource"] == f"arn:aws:s3:::{bucket}"
    assert actions(of_objects) == allowed - {"s3:ListBucket"}
    assert of_objects["Resource"] == f"arn:aws:s3:::{bucket}/{objects}"


def test_only_pods_of_the_service_account_take_the_role():
    [statement] = statements("trust")
    assert actions(statement) == {"sts:AssumeRoleWithWebIdentity"}
    provider = statement["Principal"]["Federated"].split(":oidc-provider/")[1]
    account = yaml.safe_load((ROOT / "infra/kubernetes/base/service-account.yaml").read_text())["metadata"]["name"]
    namespace = yaml.safe_load((ROOT / "infra/kubernetes/base/namespace.yaml").read_text())["metadata"]["name"]
    assert statement["Condition"] == {
        "StringEquals": {
            f"{provider}:aud": "sts.amazonaws.com",
            f"{provider}:sub": f"system:serviceaccount:{namespace}:{account}",
        }
    }


def test_the_policies_are_about_the_buckets_that_the_jobs_use():
    for file in (ROOT / "infra" / "kubernetes" / "jobs").glob("*.yaml"):
        text = file.read_text()
        if "entrypoint" in text:
            assert "s3://upfusion-archive/" in text
            assert "--out s3://upfusion-results/" in text
