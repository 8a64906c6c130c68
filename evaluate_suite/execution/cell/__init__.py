"""What runs inside the sandbox: standard library only, imported there as `cell`; nothing of Rowpick."""
