"""Requests that cannot be carried out, found before anything is started."""


class RequestError(ValueError):
    """A wrong request; the sentence says what was wrong, what was expected and what to do."""
