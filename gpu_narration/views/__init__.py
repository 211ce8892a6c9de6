"""Traces for people to look at."""
