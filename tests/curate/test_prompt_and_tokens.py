"""Prompts and token counts: what the model sees, counted with its own tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.errors import UserError
from curate.prompt import RAW, PromptTemplate, load_prompt_template
from curate.tokens import count_tokens, encode_examples, encode_prompt, load_tokenizer


def test_the_raw_template_is_the_instruction_and_one_newline() -> None:
    assert RAW.render("Sort a list {instruction}") == "Sort a list {instruction}\n"
    assert PromptTemplate("t", "Q: {instruction}\nA:").render("x") == "Q: x\nA:\n"


def test_a_template_file_must_hold_the_slot_once(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("Task: {instruction}\n")
    assert load_prompt_template(path).render("x") == "Task: x\n"
    path.write_text("no slot")
    with pytest.raises(UserError, match=r"has \{instruction\} 0 times; it must stand there once"):
        load_prompt_template(path)


def test_llama_example_has_start_prompt_newline_output_end(shared_data: Path) -> None:
    tokenizer = load_tokenizer("meta-llama/Llama-2-7b-hf", str(shared_data / "llama2-tokenizer"))
    (example,) = encode_examples(tokenizer, RAW, [("Say hi", "hi\nthere")])
    assert tokenizer.convert_ids_to_tokens(example.input_ids) == [
        "<s>", "▁Say", "▁hi", "<0x0A>", "▁hi", "<0x0A>", "there", "</s>",
    ]  # fmt: skip
    assert example.prompt_length == 4
    assert encode_prompt(tokenizer, RAW, "Say hi") == example.input_ids[:4]


def test_counts_are_the_lengths_of_the_encoded_examples(shared_data: Path) -> None:
    tokenizer = load_tokenizer("smollm2-135m")
    pairs = [("Sort a list", "sorted(x)"), ("", "x"), ("é \ud800", "a\0b"), ("long " * 500, "y" * 3000)]
    lengths = [len(example.input_ids) for example in encode_examples(tokenizer, RAW, pairs)]
    assert count_tokens(tokenizer, RAW, pairs).tolist() == lengths
    assert lengths[1] == 3  # newline, x, end token: smollm2 has no start token


def test_a_missing_local_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_tokenizer(str(tmp_path))
