"""The process that runs the tested program."""
