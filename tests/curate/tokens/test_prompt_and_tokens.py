"""Prompts and token counts: what the model sees, counted with its own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from curate.engines.local import LocalEngine
from curate.errors import UserError
from curate.pool.rows import build_row
from curate.pool.writer import write_table
from curate.tokens import pool_counts
from curate.tokens.prompt import RAW, PromptTemplate, load_prompt_template
from curate.tokens.tokenizers import count_tokens, encode_examples, encode_prompt, load_tokenizer


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


def test_a_template_saved_on_windows_is_the_same_template(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"\xef\xbb\xbfTask:\r\n{instruction}\r\nAnswer:\r\n")
    assert load_prompt_template(path).render("x") == "Task:\nx\nAnswer:\n"


def test_llama_example_has_start_prompt_newline_output_end(shared_data: Path) -> None:
    tokenizer = load_tokenizer("meta-llama/Llama-2-7b-hf", str(shared_data / "llama2-tokenizer"))
    (example,) = encode_examples(tokenizer, RAW, [("Say hi", "hi\nthere")])
    assert tokenizer.convert_ids_to_tokens(example.input_ids) == [
        "<s>", "▁Say", "▁hi", "<0x0A>", "hi", "<0x0A>", "there", "</s>",
    ]  # fmt: skip
    assert example.prompt_length == 4
    assert encode_prompt(tokenizer, RAW, "Say hi") == example.input_ids[:4]


def test_counts_are_the_lengths_of_the_encoded_examples() -> None:
    tokenizer = load_tokenizer("smollm2-135m")
    pairs = [("Sort a list", "sorted(x)"), ("", "x"), ("é \ud800", "a\0b"), ("long " * 500, "y" * 3000)]
    lengths = [len(example.input_ids) for example in encode_examples(tokenizer, RAW, pairs)]
    assert count_tokens(tokenizer, RAW, pairs).tolist() == lengths
    assert lengths[1] == 3  # newline, x, end token: smollm2 has no start token


@pytest.mark.parametrize("name", ["smollm2-135m", "llama2-tokenizer"])
def test_counts_of_real_rows_are_those_of_the_ids_whatever_the_tokenizer(name: str, shared_data: Path) -> None:
    tokenizer = load_tokenizer(name if name == "smollm2-135m" else str(shared_data / name))
    lines = (shared_data / "codegen-4.5k.jsonl").read_text(encoding="utf-8").splitlines()[:300]
    pairs = [(row["instruction"], row["output"]) for row in map(json.loads, lines)]
    lengths = [len(example.input_ids) for example in encode_examples(tokenizer, RAW, pairs)]
    assert count_tokens(tokenizer, RAW, pairs).tolist() == lengths


def test_counts_of_a_pool_are_kept_by_content_and_follow_the_rows_in_any_order(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []

    def count(tokenizer: object, template: object, pairs: list[tuple[str, str]]) -> object:
        counted.append(len(pairs))
        return np.array([len(a) + len(b) for a, b in pairs], dtype=np.int32)

    monkeypatch.setattr(pool_counts, "count_tokens", count)
    engine = LocalEngine(workers=1)
    texts = [("a" * i, "b" * (3 * i % 7)) for i in range(9)]
    for order in (texts, texts[::-1]):
        table = write_table(build_row(number, *pair, "t") for number, pair in enumerate(order))
        counts = pool_counts.count_pool_tokens(engine, table, None, "digest", RAW)
        assert counts.tolist() == [len(a) + len(b) for a, b in order]
    assert counted == [9]
    pool_counts.count_pool_tokens(engine, table, None, "digest", PromptTemplate("t", "Q: {instruction}"))
    pool_counts.count_pool_tokens(engine, table, None, "other digest", RAW)
    assert counted == [9, 9, 9]


def test_a_missing_local_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("name", ["{input}", "{output}", "{response}", "{answer}", "{system}"])
def test_a_name_that_nothing_is_put_in_is_refused_and_not_trained_on(name: str, tmp_path: Path) -> None:
    path = tmp_path / "template.txt"
    path.write_text(f"### Task:\n{{instruction}}\n\n### More:\n{name}")
    with pytest.raises(UserError) as caught:
        load_prompt_template(path)
    assert f"template.txt has {name}, which nothing is put in" in str(caught.value)


def test_the_example_of_two_rounds_in_the_error_works_for_every_choice_of_turns(tmp_path: Path) -> None:
    path = tmp_path / "template.txt"
    path.write_text("{instruction} {instruction}")
    with pytest.raises(UserError) as caught:
        load_prompt_template(path)
    path.write_text(str(caught.value).split("of two rounds: ")[1])
    for turns in ("single", "last", "all"):
        assert load_prompt_template(path).for_turns(turns).render("x") == "Q: x A:"
    path.write_text("Q: {instruction} A: {answer} Q: {instruction} A:\n")
    with pytest.raises(UserError, match=r'End the file with " A: \{no newline\}"\.$'):
        load_prompt_template(path).for_turns("all")
    path.write_text("Q: {instruction} A: {answer} Q: {instruction} A: {no newline}")
    assert load_prompt_template(path).for_turns("all").render("x") == "Q: x A: "
