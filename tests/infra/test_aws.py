"""infra/aws: policies that allow what a job does, and no more."""

import json
from collections.abc import Callable
from typing import Any

import botocore.exceptions
import botocore.session
import pytest
import yaml
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

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


BUCKETS = ("upfusion-archive", "upfusion-results", "upfusion-mlflow")
BEFORE_RIGHTS_COUNT = len(BUCKETS) * 2 + 4


CALLS: dict[str, Callable[[Any, str], Any]] = {
    "list": lambda store, bucket: store.list_objects_v2(Bucket=bucket),
    "read": lambda store, bucket: store.get_object(Bucket=bucket, Key="a"),
    "write": lambda store, bucket: store.put_object(Bucket=bucket, Key="b", Body=b"b"),
    "delete": lambda store, bucket: store.delete_object(Bucket=bucket, Key="b"),
}


@pytest.fixture(autouse=True)
def no_store_of_a_person(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@mock_aws
@set_initial_no_auth_action_count(BEFORE_RIGHTS_COUNT)
def test_a_job_reads_the_source_and_writes_the_results_alone():
    store = job_store()

    def allowed(bucket: str) -> set[str]:
        return {name for name, call in CALLS.items() if goes(call, store, bucket)}

    assert {bucket: allowed(bucket) for bucket in BUCKETS} == {
        "upfusion-archive": {"list", "read"},
        "upfusion-results": {"list", "read", "write", "delete"},
        "upfusion-mlflow": set(),
    }
    assert not goes(store.list_buckets)
    assert not goes(lambda: store.create_bucket(Bucket="another"))


def job_store() -> Any:
    """Put an object into every bucket and give a client that has the rights of a job, as moto reads the policies."""
    session = botocore.session.Session()
    anyone = {"region_name": "us-east-1", "aws_access_key_id": "anyone", "aws_secret_access_key": "anyone"}
    store, iam = session.create_client("s3", **anyone), session.create_client("iam", **anyone)
    for bucket in BUCKETS:
        store.create_bucket(Bucket=bucket)
        store.put_object(Bucket=bucket, Key="a", Body=b"a")
    iam.create_user(UserName="job")
    for name in ("source", "destination"):
        text = (AWS / f"{name}-policy.json").read_text()
        iam.put_user_policy(UserName="job", PolicyName=name, PolicyDocument=text)
    key = iam.create_access_key(UserName="job")["AccessKey"]
    secrets = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    return session.create_client("s3", region_name="us-east-1", **secrets)


def goes(call: Callable[..., Any], *arguments: Any) -> bool:
    try:
        call(*arguments)
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False
    return True
