"""Recordings: pairs of films or of folders of numbered frames, fused in segments.

    cut (segments.py) -> segments in the manifest -> one actor a segment (segment_actor.py) -> join (concat.py)

A segment streams through its actor: read and paired by time (frames.py, sync.py), fused and measured, encoded
(encode.py), each beside the other in small queues (prefetch.py). Times are of A, from its first frame on.
"""
