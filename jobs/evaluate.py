"""Entry point of `upfusion evaluate SET... --methods M... --out DIR`: which fusion is better on these pairs?"""

import sys

from jobs.command_line import job_command
from jobs.exit_codes import EXIT_OK, EXIT_SOME_FAILED, exit_on_failure
from jobs.terminal import Terminal, quiet
from pipelines.evaluate.config import EvaluateConfig


@job_command(EvaluateConfig, name="evaluate", positional=("sets",), several=("methods",))
def command(config: EvaluateConfig, verbose: bool) -> int:
    """Compare methods of fusion on sets of pairs: values, tables and pictures.

    Rerunning the command, also with more sets or methods, measures only what is new. Exit codes: 0 everything
    measured, 3 some images could not be, 2 invalid arguments, 1 a crash.
    """
    console = Terminal(stderr=True)
    with console.status("getting ready"):
        from jobs.console.evaluate import EvaluationLine, print_evaluation, print_plan
        from pipelines.evaluate.job import evaluate
        from pipelines.evaluate.plan import plan_evaluation

        plan = plan_evaluation(config)
    print_plan(console, plan)
    with (
        exit_on_failure(console, "The evaluation", "Measurements are saved", verbose=verbose),
        quiet(verbose) as terminal,
        EvaluationLine(terminal) as line,
    ):
        evaluation = evaluate(plan, line.update, verbose=verbose)
    print_evaluation(Terminal(), evaluation)
    return EXIT_SOME_FAILED if evaluation.failed else EXIT_OK


if __name__ == "__main__":
    sys.exit(command())
