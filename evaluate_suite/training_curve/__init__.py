"""Loss histories: readers of many formats, and the rules behind a verdict."""
