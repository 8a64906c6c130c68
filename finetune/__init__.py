"""Train an adapter on a selection: exact, resumable, recorded."""
