"""`finetune check`: what can go wrong in a run, found before it starts."""
