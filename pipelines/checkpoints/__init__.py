"""Checkpoints: reading them from wherever they lie, describing, creating and converting them."""
