"""One module for each ratio that the project claims; each prints a table and writes JSON to ``benchmarks/results/``."""
