"""Data sets, one module each, and pure image functions."""
