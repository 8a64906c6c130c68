"""`evalsuite compare`: finished runs, or result files of any origin."""
