"""The report of a fuse job: one self-contained page."""
