"""The fuse job: an archive of pairs in, fused images and one row of metrics per pair out."""
