"""How objects are read over HTTP: from the host that the URI names, wherever that host would send a reader."""

from errno import EACCES
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp


@cache
def one_host() -> dict[str, Any]:
    """Return options for fsspec with which a redirect to another host is a PermissionError that names it.

    A host that may be read must not be able to make a reader look elsewhere, such as into its own network.
    """
    import aiohttp  # which is large, and seldom needed

    watched = aiohttp.TraceConfig()
    watched.on_request_redirect.append(_stay)
    return {"client_kwargs": {"trace_configs": [watched]}}


async def _stay(
    session: "aiohttp.ClientSession",  # noqa: ARG001
    context: SimpleNamespace,  # noqa: ARG001
    request: "aiohttp.TraceRequestRedirectParams",
) -> None:
    answer = request.response
    # The URL of an answer without a host, which is most of them, is on the host that was asked.
    target = answer.url.join(type(answer.url)(answer.headers.get("Location", "")))
    if target.origin() != answer.url.origin():
        raise PermissionError(EACCES, f"it redirects to {target.origin()}, which is another host", str(answer.url))
