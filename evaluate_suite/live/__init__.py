"""The live page of a run that is training."""
