"""Measuring images that were fused before."""
