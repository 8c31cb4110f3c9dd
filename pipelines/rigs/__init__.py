"""Rigs in the jobs: read from files, estimated from an archive, applied to the pairs of a block."""
