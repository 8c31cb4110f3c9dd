"""The errors whose sentence is meant for a person as it is."""


class RequestError(ValueError):
    """A wrong request, found before anything is started: what was wrong, what was expected and what to do."""


class JobStoppedError(RuntimeError):
    """A job that cannot go on by itself: what happened, what is left and what to do."""
