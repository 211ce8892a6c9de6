"""Joins over traces: spans, GPU time, memory.  Pure functions over events."""
