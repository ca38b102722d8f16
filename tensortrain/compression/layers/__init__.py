"""Layers of a model: find them, decide which can be replaced, build their replacements, and insert these."""
