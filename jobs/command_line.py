"""The console script `upfusion`: one subcommand per job, with flags generated from the job's configuration."""

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
import yaml
from click.core import ParameterSource
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from jobs.exit_codes import EXIT_CRASH, EXIT_USAGE, traceback_of
from jobs.terminal import Terminal
from pipelines.cluster.allocator import keep_freed_memory
from pipelines.errors.escaping import printable
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from upfusion.version import __version__

Config = TypeVar("Config", bound=BaseModel)

JOBS = (
    *(
        "fuse",
        "align",
        "pairs",
        "demo",
        "export",
        "measure",
        "evaluate",
        "ablate",
        "train",
        "info",
        "convert",
        "create",
        "export-model",
    ),
    "submit",
)
"""The subcommands, each `command` in the module of its name."""

EXAMPLES = {
    "fuse": "upfusion fuse visible.jpg infrared.png -o fused.png, or upfusion fuse ARCHIVE -o DEST",
    "align": "upfusion align ARCHIVE --out rig.json",
    "pairs": "upfusion pairs ARCHIVE",
    "export": "upfusion export DEST --to FOLDER",
    "measure": "upfusion measure visible.jpg infrared.png fused.png",
    "evaluate": "upfusion evaluate ARCHIVE --methods tiny mean laplacian --out DEST",
    "train": "upfusion train ARCHIVE --out DEST",
    "info": "upfusion info tiny",
    "export-model": "upfusion export-model tiny --size 480x640",
    "convert": "upfusion convert Fuse.pth --out paper.safetensors",
}
"""Shown where an argument is missing."""


FIRST_COMMANDS = """\
upfusion demo                                         draws and fuses a small archive
upfusion fuse visible.jpg infrared.png -o fused.png   two images
upfusion fuse ARCHIVE -o DEST                         an archive of pairs
"""
"""What to type first."""


def job_command(
    config: type[Config], *, name: str, positional: tuple[str, ...] = (), several: tuple[str, ...] = ()
) -> Callable[..., click.Command]:
    """Turn a function of (configuration, verbose) that returns an exit code into a click command.

    Every field becomes a flag, and `--config FILE.yaml` may set any of them; flags override the file. The flag of a
    field in `several` takes space-separated words up to the next flag, as well as commas.

    The function itself imports its dependencies: PyTorch and Ray take seconds to import, which --help and usage errors
    must not wait for.
    """

    def decorate(run: Callable[[Config, bool], int]) -> click.Command:
        def callback(**given: Any) -> None:
            verbose = given.pop("verbose")
            # Read when PyTorch is loaded: its threads sleep where they would spin, which on busy cores costs the most.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            keep_freed_memory()
            try:
                with Terminal(stderr=True).status("getting ready"):  # choosing metrics imports PyTorch
                    settings = made.read(click.get_current_context())[0]
                code = run(settings, verbose)
            except UsageError as error:
                code = print_error(error, EXIT_USAGE)
            except Exception as error:  # noqa: BLE001  # Python would print it with whatever it holds
                if verbose:
                    click.echo(printable(traceback_of(error)), err=True)
                code = print_error(error, EXIT_CRASH)
            sys.exit(code)

        fields = config.model_fields.items()
        parameters: list[click.Parameter] = [
            _argument(field, info) if field in positional else _option(field, info) for field, info in fields
        ]
        parameters += [
            click.Option(
                ["--config"], type=click.Path(exists=True, dir_okay=False), help="YAML file of these options."
            ),
            click.Option(["--verbose"], is_flag=True, help="Show Ray's log, and the traceback of an error."),
        ]
        words = _help(run.__doc__, config, positional)
        made = JobCommand(name, config, positional, several, params=parameters, callback=callback, help=words)
        return made

    return decorate


def _argument(field: str, info: FieldInfo) -> click.Argument:
    # The configuration has the better error message for a missing value.
    return click.Argument([field], required=False, nargs=-1 if get_origin(info.annotation) is tuple else 1)


def _option(field: str, info: FieldInfo) -> click.Option:
    flag = _flag(info.alias or field)
    flags = [flag, *(["-o"] if field == "out" else []), field]
    kinds = [kind for kind in get_args(info.annotation) or (info.annotation,) if kind is not NoneType]
    shown: dict[str, Any] = {"help": info.description}
    if info.annotation is bool:
        return click.Option(flags, is_flag=True, **shown)
    if get_origin(info.annotation) is Literal:
        choice = click.Choice(get_args(info.annotation))
        more = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        shown_default = str(more["shown_default"]) if "shown_default" in more else True
        return click.Option(flags, type=choice, default=info.default, show_default=shown_default, **shown)
    kind = str if get_origin(info.annotation) is tuple else kinds[0]
    default = None if info.is_required() else info.default
    if isinstance(default, tuple):
        default = ",".join(default)
    # The configuration checks ranges and names; click only distinguishes numbers from text.
    return click.Option(flags, type=kind, default=default, show_default=default not in (None, ""), **shown)


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _help(text: str | None, config: type[BaseModel], positional: tuple[str, ...]) -> str:
    arguments = (f"{field.upper()}: {config.model_fields[field].description}" for field in positional)
    return "\n\n".join([inspect.cleandoc(text or ""), *arguments])


def _read_yaml(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = yaml.safe_load(Path(path).read_bytes()) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"--config {path}: expected options as 'name: value' lines")
    return {str(name).replace("-", "_"): value for name, value in values.items()}


def _validate(config: type[BaseModel], values: dict[str, Any], positional: tuple[str, ...], example: str) -> BaseModel:
    try:
        return config.model_validate(values)
    except ValidationError as error:
        sentence = "; ".join(_sentence(config, found, positional) for found in error.errors())
        if example and any(found["type"] == "missing" for found in error.errors()):
            sentence += f"\nExample: {example}"
        raise UsageError(sentence) from error


def _sentence(config: type[BaseModel], found: Any, positional: tuple[str, ...]) -> str:
    field = str(found["loc"][0]) if found["loc"] else ""
    flag = field.upper() if field in positional else _flag(field)
    if found["type"] == "missing":
        return f"{flag} is missing: {(config.model_fields[field].description or '').rstrip('.')}"
    if found["type"] == "extra_forbidden":
        return f"unknown option {field!r}; known options: {', '.join(config.model_fields)}"
    message = found["msg"].removeprefix("Value error, ")
    if found["type"] != "value_error":
        message += f", got {found['input']!r}"
    return f"{flag}: {message}" if field else message


def print_error(error: Exception, code: int) -> int:
    """Print an error, redacted, and return the exit code."""
    # Messages of stores are self-explanatory; unexpected exceptions need their type name.
    kind = "" if isinstance(error, UsageError | OSError) else f"{type(error).__name__}: "
    click.echo(printable(storage.redact(f"Error: {kind}{error}")), err=True)
    return code


class JobCommand(click.Command):
    """The command of a job, which reads its configuration from flags and a file."""

    def __init__(
        self, name: str, config: type[BaseModel], positional: tuple[str, ...], several: tuple[str, ...], **options: Any
    ) -> None:
        super().__init__(name, **options)
        self.config = config
        self.positional = positional
        self.several = tuple(_flag(field) for field in several)

    def read(self, context: click.Context) -> tuple[Any, dict[str, Any]]:
        """Return the configuration, and the values given by flags and `--config`; raises UsageError."""
        source_of = context.get_parameter_source
        fields = self.config.model_fields
        flags = {
            name: value
            for name, value in context.params.items()
            if name in fields and source_of(name) != ParameterSource.DEFAULT
        }
        given = {**_read_yaml(context.params["config"]), **flags}
        return _validate(self.config, given, self.positional, EXAMPLES.get(self.name or "", "")), given

    def request(self, words: Sequence[str]) -> tuple[Any, list[str]]:
        """Check the arguments of a command; return the configuration, and equivalent arguments without a file.

        Raises UsageError, and click's UsageError.
        """
        with self.make_context(self.name, list(words)) as context:
            config, given = self.read(context)
            places: list[str] = []
            flags = ["--verbose"] if context.params["verbose"] else []
        for name, value in given.items():
            texts = [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]
            if name in self.positional:
                places += texts
            elif value is True:
                flags += [_flag(name)]
            elif value is not None and value is not False:
                flags += [_flag(name), ",".join(texts)]
        # First, so that no flag consumes them.
        return config, places + flags

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, self._join(args))
        except click.UsageError as error:
            raise click.UsageError(printable(storage.redact(error.format_message())), ctx) from error

    def _join(self, args: list[str]) -> list[str]:
        """Join the words after a flag that takes several with commas, and merge its occurrences."""
        joined: list[str] = []
        values: dict[str, list[str]] = {}
        flag = None
        for word in args:
            name, equals, value = word.partition("=")
            if word.startswith("-"):
                flag = name if name in self.several else None
                if flag is None:
                    joined.append(word)
                else:
                    values.setdefault(flag, []).extend([value] if equals else [])
            elif flag is None:
                joined.append(word)
            else:
                values[flag].append(word)
        # First, so that no preceding flag consumes them as its value.
        return [*(word for name, words in values.items() for word in (name, ",".join(words))), *joined]


class Jobs(click.Group):
    """Imports a job on demand: Ray takes seconds to import, and not every job needs it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(JOBS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], JOBS, 1)
            meant = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"{error.format_message()}{meant}", ctx) from error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in JOBS:
            return None
        command: click.Command = importlib.import_module(f"jobs.{cmd_name.replace('-', '_')}").command
        return command


@click.group(
    cls=Jobs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Fuse registered image pairs: infrared + visible, CT / PET / SPECT + MRI.\n\n\b\n" + FIRST_COMMANDS,
)
@click.version_option(__version__, prog_name="upfusion")
def main() -> None:
    """Run the subcommand of a job."""


if __name__ == "__main__":
    main()
