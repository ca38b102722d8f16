"""Trained models as files: build, save, load, compress and export them, and share them on the Hugging Face Hub."""
