"""`finetune influence`: how much a small model learns about a target from each row of a pool."""
