"""What the commands show before any work: their help, and that something happens."""

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress

import pytest
from click.testing import CliRunner, Result

from jobs.command_line import JOBS, main
from pipelines.archive.config import ArchiveConfig
from pipelines.fuse.config import FuseConfig
from upfusion.version import __version__


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_help_names_every_job_with_a_sentence():
    text = invoke("--help").stdout
    for job in JOBS:
        assert re.search(rf"^  {job}  +[A-Z]\w+ ", text, re.MULTILINE)
    assert invoke("-h").stdout == text
    assert invoke("--version").stdout == f"upfusion, version {__version__}\n"


@pytest.mark.parametrize(("job", "config"), [("fuse", FuseConfig), ("pairs", ArchiveConfig)])
def test_help_of_a_job_shows_every_option_with_its_description(job, config):
    text = " ".join(invoke(job, "--help").stdout.split())
    for name, field in config.model_fields.items():
        shown = f"{name.upper()}: " if name in ("source", "source_b") else f"--{name.replace('_', '-')} "
        assert shown in text
        # A narrow column breaks words at their hyphens too.
        assert field.description.replace(" ", "") in text.replace(" ", "")
    assert "--config" in text
    assert "--verbose" in text


def test_help_shows_defaults_and_choices():
    text = " ".join(invoke("fuse", "--help").stdout.split())
    for default in ("tiny", "default", "(files, in a bucket parquet)", "png", "1.0", "upfusion"):
        assert f"[default: {default}]" in text
    assert "--images [parquet|files|both]" in text
    assert "Exit codes: 0 " in text


def test_an_unknown_job_is_refused_beside_the_known_ones():
    result = invoke("fues")
    assert result.exit_code == 2
    assert "'fues'" in result.stderr


def test_nothing_heavy_is_imported_for_help_or_the_refusal_of_a_request():
    """Nor is a job before it is asked for, which would make a circle: every job imports the command line."""
    look = (
        "import sys\nfrom jobs.command_line import JOBS, main\n"
        "print([job for job in JOBS if f'jobs.{job}' in sys.modules])\n"
        "for words in (['--help'], *([job, '--no-such-option'] for job in JOBS)):\n"
        "    try: main(words)\n"
        "    except SystemExit as ended:\n"
        "        print(words, ended.code, {'ray', 'torch', 'mlflow', 'cv2'} & set(sys.modules))\n"
    )
    said = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "[]"
    assert "['--help'] 0 set()" in said
    assert [line for line in said if line.startswith("[")][2:] == [
        f"['{job}', '--no-such-option'] 2 set()" for job in JOBS
    ]


def test_a_person_sees_that_something_happens_and_a_log_does_not(tmp_path):
    words = [str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]
    assert invoke("fuse", *words).stderr == f"Error: SOURCE {tmp_path / 'nowhere'} does not exist\n"
    ours, theirs = pty.openpty()
    said = ""
    command = [sys.executable, "-m", "jobs.fuse", *words]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(theirs)
        with suppress(OSError):  # Linux's way to say that the other end is closed
            while part := os.read(ours, 1000):
                said += part.decode(errors="replace")
    os.close(ours)
    assert process.returncode == 2
    assert said.index("getting ready") < said.index("Error: SOURCE")
