"""The process that runs the tests."""
