"""The selection artifact: its record, its writer, its card, its page."""
