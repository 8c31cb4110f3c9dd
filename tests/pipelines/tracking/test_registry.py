"""MLflow's model registry, a real one in an SQLite file."""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from jobs.command_line import main
from pipelines.checkpoints.read import read_model
from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.plan import plan_fuse
from pipelines.tracking.registry import read_registered, register_model
from tests.archives import make_archive
from upfusion import FusionModel
from upfusion.checkpoint import EMBEDDED, Provenance, parse_checkpoint

ROOT = Path(__file__).parents[3]
TINY_BYTES = (EMBEDDED / "tiny.safetensors").read_bytes()
TINY = parse_checkpoint(TINY_BYTES, "tiny")
LOAD = f"""
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder)]
sys.path = [place for place in sys.path if place not in ("", {str(ROOT)!r}) and "editable" not in place]
import mlflow, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
luma = np.full((1, 16, 24), 0.5, np.float32)
print(str(model.predict({{"a": luma, "b": luma}}).shape).replace(" ", ""))
ours = ("upfusion", "pipelines", "jobs")
print(*(module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in ours))
"""
OTHER_BYTES = replace(TINY, name="other").to_bytes()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tracking_in: Callable[[Path], str]) -> str:
    folder = tmp_path_factory.mktemp("mlflow")
    uri = tracking_in(folder)
    mlflow.MlflowClient(uri).create_experiment("train", artifact_location=(folder / "mlartifacts").as_uri())
    return uri


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[mlflow.MlflowClient]:
    """A client of the server that MLflow is set to."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    mlflow.set_tracking_uri(server)
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(None)


@pytest.fixture
def run_id(client: mlflow.MlflowClient) -> str:
    experiment = client.get_experiment_by_name("train")
    assert experiment is not None
    return str(client.create_run(experiment.experiment_id).info.run_id)


def versions(client: mlflow.MlflowClient, name: str) -> list[str]:
    return sorted(str(one.version) for one in client.search_model_versions(f"name = '{name}'"))


# Registering


def test_an_alias_moves_to_a_newer_version(run_id: str) -> None:
    assert register_model(TINY_BYTES, "moving", run_id=run_id, alias="champion") == "1"
    assert read_registered("models:/moving@champion") == TINY_BYTES
    assert register_model(OTHER_BYTES, "moving", run_id=run_id) == "2"
    assert read_registered("models:/moving@champion") == TINY_BYTES
    assert register_model(OTHER_BYTES, "moving", run_id=run_id, alias="champion") == "2"
    assert read_registered("models:/moving@champion") == OTHER_BYTES
    assert read_registered("models:/moving/1") == TINY_BYTES


def test_a_run_registers_a_checkpoint_once(run_id: str, client: mlflow.MlflowClient) -> None:
    again = [register_model(TINY_BYTES, "once", run_id=run_id) for _ in range(2)]
    assert again == ["1", "1"]
    assert versions(client, "once") == ["1"]
    another_run = client.create_run(client.get_run(run_id).info.experiment_id).info.run_id
    assert register_model(TINY_BYTES, "once", run_id=another_run) == "2"
    assert register_model(TINY_BYTES, "twice", run_id=run_id) == "1"


def test_a_version_says_what_it_is_and_where_it_comes_from(run_id: str, client: mlflow.MlflowClient) -> None:
    measured = {"MSRS": {"vif": 0.5, "qabf": 0.68254}, "PET + MRI (16)": {"vif": 1.0}}
    checkpoint = replace(TINY, provenance=Provenance(metrics=measured))
    register_model(checkpoint.to_bytes(), "described", run_id=run_id)
    registered = client.get_model_version("described", "1")
    assert registered.tags == {
        "upfusion.digest": checkpoint.digest,
        "upfusion.model": "tiny",
        "upfusion.metrics.MSRS": "vif 0.5, qabf 0.6825",
        "upfusion.metrics.PET_MRI_16": "vif 1",
    }
    assert registered.run_id == run_id
    run = client.get_run(run_id)
    (model,) = mlflow.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run_id}'", output_format="list"
    )
    assert model.status == "READY"
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]


def test_nothing_in_a_version_is_pickled(run_id: str, client: mlflow.MlflowClient) -> None:
    register_model(TINY_BYTES, "plain", run_id=run_id)
    folder = Path(client.get_model_version_download_uri("plain", "1").removeprefix("file://"))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "pyfunc_model.py", "artifacts/checkpoint.safetensors"} <= files
    assert {Path(file).suffix for file in files} == {"", ".py", ".safetensors", ".tsv", ".txt", ".typed", ".yaml"}


def test_no_index_has_to_provide_upfusion(run_id: str, client: mlflow.MlflowClient) -> None:
    register_model(TINY_BYTES, "whole", run_id=run_id)
    folder = Path(client.get_model_version_download_uri("whole", "1").removeprefix("file://"))
    required = (folder / "requirements.txt").read_text().splitlines()
    assert {f"torch=={version('torch').partition('+')[0]}", f"scipy=={version('scipy')}"} <= set(required)
    assert not [line for line in required if "upfusion" in line]
    for named in ("python_env.yaml", "conda.yaml"):
        assert "upfusion" not in (folder / named).read_text()
    assert (folder / "code" / "upfusion" / "model.py").is_file()


@pytest.mark.slow
@pytest.mark.extended
def test_whoever_loads_a_version_needs_nothing_of_this_checkout(run_id: str, client: mlflow.MlflowClient) -> None:
    register_model(TINY_BYTES, "elsewhere", run_id=run_id)
    folder = Path(client.get_model_version_download_uri("elsewhere", "1").removeprefix("file://"))
    said = subprocess.run([sys.executable, "-c", LOAD, str(folder)], capture_output=True, text=True, cwd=folder.parent)
    assert said.returncode == 0, said.stderr
    shape, *imported = said.stdout.split()
    assert shape == "(1,16,24)"
    assert imported
    assert not [file for file in imported if not file.startswith(str(folder / "code" / "upfusion"))]


def test_an_untrained_checkpoint_is_not_registered(run_id: str, client: mlflow.MlflowClient) -> None:
    untrained = replace(TINY, provenance=Provenance(trained=False)).to_bytes()
    with pytest.raises(ValueError, match="untrained"):
        register_model(untrained, "noise", run_id=run_id)
    assert versions(client, "noise") == []


@pytest.mark.parametrize(("name", "alias"), [("a/b", None), ("refused", "not an alias")])
def test_what_mlflow_refuses_is_a_sentence(run_id: str, name: str, alias: str | None) -> None:
    with pytest.raises(UsageError, match=rf"'{name}'.*\(MLflow.*\w"):
        register_model(TINY_BYTES, name, run_id=run_id, alias=alias)


# Loading with MLflow


def test_mlflow_loads_a_version_and_fuses(run_id: str, recwarn: pytest.WarningsRecorder) -> None:
    register_model(TINY_BYTES, "loaded", run_id=run_id, alias="champion")
    loaded = mlflow.pyfunc.load_model("models:/loaded@champion")
    assert [str(warned.message) for warned in recwarn if warned.category is UserWarning] == []
    ours = FusionModel(TINY)
    a_BHW, b_BHW = torch.rand(2, 3, 37, 53, generator=torch.Generator().manual_seed(0))
    given = {"a": a_BHW.numpy(), "b": b_BHW.numpy()}
    for task, prompt in (("ir_visible", None), ("ct_mri", None), ("ir_visible", "ct_mri")):
        text_BT = ours.guidance.embed(task, prompt).expand(3, -1)
        expected = ours.fuse_lumas(a_BHW[:, None], b_BHW[:, None], text_BT)[:, 0].cpu().numpy()
        params = {"task": task} | ({"prompt": prompt} if prompt else {})
        np.testing.assert_array_equal(loaded.predict(given, params=params), expected)
        assert (loaded.predict(given) == expected).all() == (params == {"task": "ir_visible"})
    with pytest.raises(ValueError, match=r"\(3, 37, 53\).*\(3, 37, 52\)"):
        loaded.predict(given | {"b": np.ascontiguousarray(given["b"][..., 1:])})


# Reading


def test_a_fuse_job_reads_from_its_tracking_server(run_id: str, server: str, tmp_path: Path) -> None:
    register_model(OTHER_BYTES, "planned", run_id=run_id, alias="champion")
    mlflow.set_tracking_uri("http://127.0.0.1:1")
    make_archive(tmp_path / "in", 1)
    config = FuseConfig(
        source=str(tmp_path / "in"), out=str(tmp_path / "out"), model="models:/planned@champion", tracking_uri=server
    )
    assert plan_fuse(config).method.data == OTHER_BYTES
    assert read_model("models:/planned/1", server)[0].name == "other"


def test_the_environment_names_the_server(run_id: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register_model(OTHER_BYTES, "described_here", run_id=run_id)
    mlflow.set_tracking_uri(None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    result = CliRunner().invoke(main, ["info", "models:/described_here/1", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["digest"] == parse_checkpoint(OTHER_BYTES, "other").digest
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", server)
    assert read_registered("models:/described_here/1") == OTHER_BYTES


def test_nothing_stays_in_the_temporary_folder(run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    register_model(TINY_BYTES, "tidy", run_id=run_id)
    read_registered("models:/tidy/1")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def somebody_and_foreign(run_id: str, client: mlflow.MlflowClient, tmp_path: Path) -> None:
    """A model with one version and two aliases, and one that is not ours."""
    if versions(client, "somebody"):
        return
    for alias in ("first", "best"):
        register_model(TINY_BYTES, "somebody", run_id=run_id, alias=alias)
    client.create_registered_model("foreign")
    client.create_model_version("foreign", tmp_path.as_uri())


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("models:/nobody@champion", "'nobody'.*sqlite:///.*MLFLOW_TRACKING_URI or --tracking-uri"),
        ("models:/somebody@champion", r"'champion'.*best, first"),
        ("models:/somebody/7", r"'somebody'.*\b7\b.*\b1\b"),
        ("models:/somebody", "models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("models:/somebody/Production", "models:/NAME@ALIAS or models:/NAME/VERSION"),
        (
            "models:/foreign/1",
            "\\b1\\b.*'foreign'.*artifacts/checkpoint.safetensors",
        ),
    ],
)
@pytest.mark.usefixtures("somebody_and_foreign")
def test_what_is_missing_is_named(uri: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"'{uri}'.*{reason}"):
        read_model(uri)


@pytest.mark.usefixtures("client")
def test_a_server_in_trouble_is_given_up_soon_and_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    asked: list[str] = []

    class InTrouble(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), InTrouble) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        uri = f"http://ann:a-secret-word@127.0.0.1:{listening.server_port}"
        with pytest.raises(UsageError) as caught:
            read_registered("models:/upfusion@champion", uri)
        listening.shutdown()
        thread.join()
    assert "'models:/upfusion@champion'" in str(caught.value)
    assert "http://ann:***@127.0.0.1" in str(caught.value)
    assert "a-secret-word" not in str(caught.value)
    assert len(asked) == 4


# Versions that others made


def test_code_of_a_version_is_not_executed(run_id: str, client: mlflow.MlflowClient, tmp_path: Path) -> None:
    register_model(TINY_BYTES, "hostile", run_id=run_id)
    folder = Path(client.get_model_version_download_uri("hostile", "1").removeprefix("file://"))
    mark = tmp_path / "sprung"
    with (folder / "pyfunc_model.py").open("a") as code:
        code.write(f"\nimport os\nos.mkdir({str(mark)!r})\n")
    (folder / "python_model.pkl").write_bytes(b"cos\nmkdir\n(V" + str(mark).encode() + b"\ntR.")
    assert read_registered("models:/hostile/1") == TINY_BYTES
    assert read_model("models:/hostile/1")[0].digest == TINY.digest
    assert not mark.exists()
    # MLflow itself does.
    mlflow.pyfunc.load_model("models:/hostile/1")
    assert mark.exists()
