"""Google's object store for the tests: gcp-storage-emulator, with the precondition that it lacks.

`python -m tests.google_store PORT` serves from memory until it is ended.
"""

import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import create_server

_one_upload = threading.Lock()


def _if_generation_matches(upload: Callable[..., Any]) -> Callable[..., Any]:
    """Answer an upload with `ifGenerationMatch=0` by 412 where there is an object, as Google documents it."""

    def checked(request: Any, response: Any, storage: Any) -> Any:
        with _one_upload:
            bucket = request.params["bucket_name"]
            name = request.query["name"][0] if "name" in request.query else request.data["meta"]["name"]
            if request.query.get("ifGenerationMatch") == ["0"] and _exists(storage, bucket, name):
                response.status = HTTPStatus.PRECONDITION_FAILED
                return response.json({"error": {"code": 412, "message": "conditionNotMet"}})
            return upload(request, response, storage)

    return checked


def _exists(storage: Any, bucket: str, name: str) -> bool:
    try:
        storage.get_file_obj(bucket, name)
    except NotFound:
        return False
    return True


if __name__ == "__main__":
    objects._multipart_upload = _if_generation_matches(objects._multipart_upload)
    objects._media_upload = _if_generation_matches(objects._media_upload)
    create_server("127.0.0.1", int(sys.argv[1]), in_memory=True).run()
