"""What a cluster gets of a submission, and what it does not; tests/chaos/test_stack.py has the cluster."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.cluster import submit as submission
from pipelines.cluster.environment import DESTINATION
from pipelines.cluster.submit import CHECKOUT, Submission, follow, make_runtime_env, submit
from pipelines.cluster.submit_defaults import NO_WORKING_DIR
from pipelines.errors.exceptions import UsageError

ADDRESS = "http://head:8265"
SECRET = "hunter2hunter2"


class Cluster:
    """Stands for a Ray cluster's client."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.tails: list[list[str]] = []
        self.log = ""
        self.info: Any = None

    def submit_job(self, **told: Any) -> None:
        status = SimpleNamespace(is_terminal=lambda: False)
        self.jobs.append(SimpleNamespace(**told, status=status))

    def list_jobs(self) -> list[Any]:
        return self.jobs

    async def tail_job_logs(self, _id: str) -> Any:
        for text in self.tails.pop(0):
            if text in ("breaks off", "does not answer", "forgets"):
                raise RuntimeError(text)
            yield text

    def get_job_logs(self, _id: str) -> str:
        return self.log

    def get_job_info(self, _id: str) -> Any:
        if self.tails and self.tails[0] == ["does not answer"]:
            raise ConnectionError("Failed to connect to Ray at http://head:8265")
        if self.tails and self.tails[0] == ["forgets"]:
            raise RuntimeError("Request failed with status code 404: Job fuse-1 does not exist.")
        ended = SimpleNamespace(is_terminal=lambda: not self.tails)
        return SimpleNamespace(**(self.info or {}), **({} if "status" in (self.info or {}) else {"status": ended}))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    there = Cluster()
    monkeypatch.setattr(submission, "JobSubmissionClient", lambda _address: there)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://another:8265")
    return there


def test_the_same_command_again_has_an_id_of_its_own_once_the_first_has_ended(cluster: Cluster) -> None:
    words = ["s3://data/in", "--out", "s3://data/out put", "--prompt", "it's dark"]
    first = submit("fuse", words, "s3://data/out put", address=ADDRESS, metadata={"team": "night"})
    (job,) = cluster.jobs
    assert first.command == """python -m jobs.fuse s3://data/in --out 's3://data/out put' --prompt 'it'"'"'s dark'"""
    assert job.entrypoint == f"exec {first.command}"
    assert job.metadata == {"team": "night", DESTINATION: "s3://data/out put"}
    assert first.id == job.submission_id
    assert first.id.startswith("fuse-out-put-")
    assert first.dashboard == f"{ADDRESS}/#/jobs/{first.id}"

    with pytest.raises(UsageError, match=rf"{first.id}.*s3://data/out"):
        submit("fuse", words, "s3://data/out put", address=ADDRESS)
    job.status = SimpleNamespace(is_terminal=lambda: True)
    assert submit("fuse", words, "s3://data/out put", address=ADDRESS).id != first.id


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", f"http://me:{SECRET}@head:8265"])
def test_an_address_that_is_none_is_refused(cluster: Cluster, address: str) -> None:
    with pytest.raises(UsageError, match="http://HEAD:8265") as refused:
        submit("fuse", [], "s3://data/out", address=address)
    assert SECRET not in str(refused.value)
    assert not cluster.jobs


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with pytest.raises(UsageError, match="http://127"):
        submit("fuse", [], "s3://data/out", address="http://127.0.0.1:1/")


def test_a_checkout_is_sent_with_its_commit_and_time_to_stop() -> None:
    environment = make_runtime_env(None, None)
    assert environment["working_dir"] == str(CHECKOUT)
    assert "/tests" in environment["excludes"]
    assert environment["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == "30"
    assert "working_dir" not in make_runtime_env(None, NO_WORKING_DIR)


def test_a_file_says_what_it_likes_but_no_secret(tmp_path) -> None:
    file = tmp_path / "runtime.yaml"
    file.write_text("working_dir: s3://code/upfusion.zip\nenv_vars: {RAY_JOB_STOP_WAIT_TIME_S: '5', A: b}\n")
    environment = make_runtime_env(str(file), None)
    assert environment["working_dir"] == "s3://code/upfusion.zip"
    assert environment["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "5", "A": "b"}
    for text in (
        f"env_vars: {{AWS_SECRET_ACCESS_KEY: {SECRET}}}",
        f"pip: ['git+https://me:{SECRET}@host/x']",
        f"env_vars: {{MLFLOW_TRACKING_URI: 'https://me:{SECRET}@host'}}",
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match="secret") as refused:
            make_runtime_env(str(file), None)
        assert SECRET not in str(refused.value)
    for text, said in (("[1]", "expected Ray's fields"), ("a: [", "cannot be read")):
        file.write_text(text)
        with pytest.raises(UsageError, match=said):
            make_runtime_env(str(file), None)
    with pytest.raises(UsageError, match="folder"):
        make_runtime_env(None, str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("words", "metadata"),
    [(["--prompt", SECRET], {}), ([], {"note": f"key {SECRET}"}), ([], {"api_key": "x"})],
    ids=["words", "value", "name"],
)
def test_no_secret_travels(cluster: Cluster, monkeypatch, words: list[str], metadata: dict[str, str]) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(UsageError, match="secret") as refused:
        submit("fuse", words, "s3://data/out", address=ADDRESS, metadata=metadata)
    assert SECRET not in str(refused.value)
    assert not cluster.jobs


def test_nothing_is_said_twice_when_the_connection_breaks_off(cluster: Cluster, monkeypatch) -> None:
    monkeypatch.setattr(submission.time, "sleep", lambda _: None)
    cluster.tails = [["fused 1\n", "fused 2\n", "breaks off"], ["fused 1\nfused 2\nfu", "sed 3\n"], ["breaks off"]]
    cluster.log = "fused 1\nfused 2\nfused 3\nResult\n"
    cluster.info = {"driver_exit_code": 3, "message": "exit code 3"}
    said: list[str] = []
    assert follow(Submission("fuse-1", ADDRESS, ""), said.append) == (3, "")
    assert "".join(said) == cluster.log


@pytest.mark.parametrize(("seconds", "answered"), [(600, True), (-1, False)])
def test_a_cluster_that_does_not_answer_is_asked_again_for_a_while(
    cluster: Cluster, monkeypatch, seconds: int, answered: bool
) -> None:
    monkeypatch.setattr(submission.time, "sleep", lambda _: None)
    monkeypatch.setattr(submission, "SECONDS_TO_ANSWER", seconds)
    cluster.tails = [["fused 1\n"], *[["does not answer"]] * 4, ["fused 1\nfused 2\n"]]
    cluster.log = "fused 1\nfused 2\n"
    cluster.info = {"driver_exit_code": 0, "message": ""}
    said: list[str] = []
    code, why = follow(Submission("fuse-1", ADDRESS, ""), said.append)
    if answered:
        assert (code, "".join(said)) == (0, cluster.log)
    else:
        assert (code, "".join(said)) == (1, "fused 1\n")
        assert "Failed to connect" in why


def test_a_job_that_its_cluster_has_forgotten_is_not_waited_for(cluster: Cluster) -> None:
    cluster.tails = [["fused 1\n"], ["forgets"]]
    code, why = follow(Submission("fuse-1", ADDRESS, ""), lambda _: None)
    assert code == 1
    assert "http://head:8265" in why
    assert "404" in why
