"""From a selection to the batches a run trains on, and the loss of their tokens."""
