"""Generations: prompts, engines that answer them, and the record of each answer."""
