"""Make the buckets, and put an archive of a dozen synthetic pairs into the first one, to have something to fuse."""

import tempfile
from pathlib import Path

import s3fs

from pipelines.demo.street import write_archive

BUCKETS = ("upfusion-archive", "upfusion-results", "upfusion-mlflow")


def main() -> None:
    """Do what is not done yet: it may be run again."""
    store = s3fs.S3FileSystem()
    for bucket in BUCKETS:
        if not store.exists(bucket):
            store.mkdir(bucket)
    if store.exists("upfusion-archive/pairs"):
        return
    with tempfile.TemporaryDirectory() as folder:
        write_archive(Path(folder), 12)
        for file in Path(folder).rglob("*.*"):
            store.put_file(str(file), f"upfusion-archive/pairs/{file.relative_to(folder).as_posix()}")


if __name__ == "__main__":
    main()
