"""What crosses between the tested program and its judge: frames, values, and containers that both ends hold."""
