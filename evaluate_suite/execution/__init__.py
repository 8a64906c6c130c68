"""Runs generated code in a sandbox and scores it."""
