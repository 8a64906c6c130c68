"""The run artifact: its record, its history, its checkpoints, its card."""
