"""Task files: HumanEval(+), MBPP(+) and your own."""
