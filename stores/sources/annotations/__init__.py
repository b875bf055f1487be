"""Formats in which tools and benchmarks keep labels and captions: their objects as plain rows of a table."""
