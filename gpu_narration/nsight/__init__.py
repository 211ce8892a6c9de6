"""Nsight Systems: running it, and reading what it exports; see docs/nsight.md."""
