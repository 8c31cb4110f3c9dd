"""Recordings: pairs of videos or of folders of numbered frames, fused in segments.

    cut (cuts.py, segments.py) -> manifest -> one actor per segment (segment_actor.py) -> join (concat.py)

A segment streams through its actor: read and paired by time (frames.py, sync.py), fused and measured, encoded
(encode.py), concurrently, with small queues between them (prefetch.py). Times are A's, from its first frame on.
"""
