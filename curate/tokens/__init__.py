"""Tokens: tokenizers, prompts, and how many tokens a row costs the trained model."""
