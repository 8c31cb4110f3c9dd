"""HTTP options: redirects to another host are refused."""

from errno import EACCES
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp


@cache
def same_host_only() -> dict[str, Any]:
    """Return fsspec options that turn a redirect to another host into a PermissionError naming that host.

    An allowed host must not be able to redirect a reader elsewhere, such as into the reader's own network (SSRF).
    """
    import aiohttp  # a large import that is rarely needed

    watched = aiohttp.TraceConfig()
    watched.on_request_redirect.append(_stay)
    return {"client_kwargs": {"trace_configs": [watched]}}


async def _stay(
    session: "aiohttp.ClientSession",  # noqa: ARG001
    context: SimpleNamespace,  # noqa: ARG001
    request: "aiohttp.TraceRequestRedirectParams",
) -> None:
    answer = request.response
    # Most redirects have no host in their Location: it is relative to the host that was asked.
    target = answer.url.join(type(answer.url)(answer.headers.get("Location", "")))
    if target.origin() != answer.url.origin():
        raise PermissionError(EACCES, f"it redirects to {target.origin()}, which is another host", str(answer.url))
