"""Runs turned into models that work without this project."""
