"""Exceptions whose message is shown to the user as it is."""


class UsageError(ValueError):
    """Invalid arguments, detected before anything is started; says what is wrong, what was expected, what to do."""


class JobStoppedError(RuntimeError):
    """A job that cannot continue; says what happened, what is saved and what to do."""
