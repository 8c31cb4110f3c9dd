"""Bytes in and out of folders and object stores: objects, retries, HTTP, Parquet, ownership of an output folder."""
