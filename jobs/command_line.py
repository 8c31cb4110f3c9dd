"""The console script `upfusion`: one subcommand a job, its flags read off the job's configuration."""

import importlib
import inspect
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

from jobs.exit_codes import EXIT_CRASH, EXIT_REQUEST, traceback_of
from jobs.terminal import Terminal
from pipelines.errors.escaping import printable
from pipelines.errors.exceptions import RequestError
from pipelines.storage import objects as storage
from upfusion.version import __version__

Config = TypeVar("Config", bound=BaseModel)

JOBS = ("fuse", "pairs", "demo", "measure", "evaluate", "ablate", "train", "info", "convert", "create", "submit")
"""The subcommands, each `command` in the module of its name."""


def job_command(
    config: type[Config], *, name: str, positional: tuple[str, ...] = (), several: tuple[str, ...] = ()
) -> Callable[..., click.Command]:
    """Make a command out of a function of a configuration and `verbose` that returns an exit code.

    Every field becomes a flag and `--config FILE.yaml` gives any of them; flags win over the file. The flag of a
    field in `several` takes words with blanks between, up to the next flag, beside commas.

    The function itself imports what it works with: PyTorch and Ray take seconds, which neither --help nor the refusal
    of a mistyped option is to wait for.
    """

    def decorate(run: Callable[[Config, bool], int]) -> click.Command:
        def callback(**given: Any) -> None:
            verbose = given.pop("verbose")
            try:
                with Terminal(stderr=True).status("getting ready"):  # choosing metrics imports PyTorch
                    settings = made.read(click.get_current_context())[0]
                code = run(settings, verbose)
            except RequestError as error:
                code = say_error(error, EXIT_REQUEST)
            except Exception as error:  # noqa: BLE001  # Python would print it with whatever it holds
                if verbose:
                    click.echo(printable(traceback_of(error)), err=True)
                code = say_error(error, EXIT_CRASH)
            sys.exit(code)

        fields = config.model_fields.items()
        parameters: list[click.Parameter] = [
            _argument(field, info) if field in positional else _option(field, info) for field, info in fields
        ]
        parameters += [
            click.Option(
                ["--config"], type=click.Path(exists=True, dir_okay=False), help="YAML file of these options."
            ),
            click.Option(["--verbose"], is_flag=True, help="Show what Ray says, and where an error came from."),
        ]
        words = _help(run.__doc__, config, positional)
        made = JobCommand(name, config, positional, several, params=parameters, callback=callback, help=words)
        return made

    return decorate


def _argument(field: str, info: FieldInfo) -> click.Argument:
    # The configuration says what is missing, and better.
    return click.Argument([field], required=False, nargs=-1 if get_origin(info.annotation) is tuple else 1)


def _option(field: str, info: FieldInfo) -> click.Option:
    flag = _flag(info.alias or field)
    kinds = [kind for kind in get_args(info.annotation) or (info.annotation,) if kind is not NoneType]
    shown: dict[str, Any] = {"help": info.description}
    if info.annotation is bool:
        return click.Option([flag, field], is_flag=True, **shown)
    if get_origin(info.annotation) is Literal:
        choice = click.Choice(get_args(info.annotation))
        return click.Option([flag, field], type=choice, default=info.default, show_default=True, **shown)
    kind = str if get_origin(info.annotation) is tuple else kinds[0]
    default = None if info.is_required() else info.default
    if isinstance(default, tuple):
        default = ",".join(default)
    # Ranges and names are the configuration's to check; the command line only tells numbers from words.
    return click.Option([flag, field], type=kind, default=default, show_default=default not in (None, ""), **shown)


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _help(text: str | None, config: type[BaseModel], positional: tuple[str, ...]) -> str:
    said = inspect.cleandoc(text or "")
    return "\n\n".join([said, *(f"{field.upper()}: {config.model_fields[field].description}" for field in positional)])


def _read_yaml(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = yaml.safe_load(Path(path).read_bytes()) or {}
    except yaml.YAMLError as error:
        raise RequestError(f"--config {path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise RequestError(f"--config {path}: expected options as 'name: value' lines")
    return {str(name).replace("-", "_"): value for name, value in values.items()}


def _validate(config: type[BaseModel], values: dict[str, Any], positional: tuple[str, ...]) -> BaseModel:
    try:
        return config.model_validate(values)
    except ValidationError as error:
        raise RequestError("; ".join(_sentence(config, found, positional) for found in error.errors())) from error


def _sentence(config: type[BaseModel], found: Any, positional: tuple[str, ...]) -> str:
    field = str(found["loc"][0]) if found["loc"] else ""
    flag = field.upper() if field in positional else _flag(field)
    if found["type"] == "missing":
        return f"{flag} is missing: {config.model_fields[field].description}"
    if found["type"] == "extra_forbidden":
        return f"unknown option {field!r}; known options: {', '.join(config.model_fields)}"
    message = found["msg"].removeprefix("Value error, ")
    if found["type"] != "value_error":
        message += f", got {found['input']!r}"
    return f"{flag}: {message}" if field else message


def say_error(error: Exception, code: int) -> int:
    """Tell a person what was wrong, without secrets, and return the exit code."""
    # What a store says is a sentence; what nobody foresaw needs the name of its kind.
    kind = "" if isinstance(error, RequestError | OSError) else f"{type(error).__name__}: "
    click.echo(printable(storage.without_secrets(f"Error: {kind}{error}")), err=True)
    return code


class JobCommand(click.Command):
    """The command of a job, which reads its configuration off flags and a file."""

    def __init__(
        self, name: str, config: type[BaseModel], positional: tuple[str, ...], several: tuple[str, ...], **options: Any
    ) -> None:
        super().__init__(name, **options)
        self.config = config
        self.positional = positional
        self.several = tuple(_flag(field) for field in several)

    def read(self, context: click.Context) -> tuple[Any, dict[str, Any]]:
        """Return the configuration, and what flags and `--config` said of it; raises RequestError."""
        source_of = context.get_parameter_source
        fields = self.config.model_fields
        flags = {
            name: value
            for name, value in context.params.items()
            if name in fields and source_of(name) != ParameterSource.DEFAULT
        }
        said = {**_read_yaml(context.params["config"]), **flags}
        return _validate(self.config, said, self.positional), said

    def request(self, words: Sequence[str]) -> tuple[Any, list[str]]:
        """Check the words behind a command; return the configuration, and words that say the same without a file.

        Raises RequestError, and click's UsageError.
        """
        with self.make_context(self.name, list(words)) as context:
            config, said = self.read(context)
            places: list[str] = []
            flags = ["--verbose"] if context.params["verbose"] else []
        for name, value in said.items():
            texts = [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]
            if name in self.positional:
                places += texts
            elif value is True:
                flags += [_flag(name)]
            elif value is not None and value is not False:
                flags += [_flag(name), ",".join(texts)]
        # In front, so that no flag takes them for its words.
        return config, places + flags

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, self._join(args))
        except click.UsageError as error:
            raise click.UsageError(printable(storage.without_secrets(error.format_message())), ctx) from error

    def _join(self, args: list[str]) -> list[str]:
        """Put commas between the words after a flag that takes several, and all its occurrences together."""
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
        # In front, so that no flag before them takes them for its value.
        return [*(word for name, words in values.items() for word in (name, ",".join(words))), *joined]


class Jobs(click.Group):
    """Imports a job when it is asked for: Ray takes seconds to import, and not every job needs it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(JOBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in JOBS:
            return None
        command: click.Command = importlib.import_module(f"jobs.{cmd_name}").command
        return command


@click.group(cls=Jobs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="upfusion")
def main() -> None:
    """Fuse archives of registered image pairs: infrared + visible, CT / PET / SPECT + MRI."""
