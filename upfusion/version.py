"""The version, in the one place from which packaging, `run.json` and `--version` read it."""

__version__ = "0.1.0"
