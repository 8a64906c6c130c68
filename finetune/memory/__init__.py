"""What a run will need: the shapes of models, the bytes of a step, the forecast."""
