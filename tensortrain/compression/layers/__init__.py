"""Layers of a model: find them, say which can be replaced, build what replaces them, and put it in their place."""
