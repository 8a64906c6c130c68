"""The text law: a row's ids spell prompt and output, character for character, with a tokenizer of any kind."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from curate.tokens import (
    RAW,
    PromptTemplate,
    count_tokens,
    decode_completion,
    encode_examples,
    encode_prompt,
    load_tokenizer,
)
from curate.tokens.text_rule import text_rule
from curate.tokens.tokenizers import text_notes, tokenizer_digest
from tests.curate.tokens.tokenizer_families import EXACT, LOSSY, STYLES, wrap

TEXTS = [
    "Write a function.", "", "def f(x):\n    return x\n", " x", "  x", "    return x\n", "\tx = 1\n", "\nx", "\n\n  x",
    " \n ", "Приве́т", "日本語", "😀 ok", "a</s>b", "</s>", "<|im_end|>\n", "<s>", "<unk> <pad>", "é",
    "```python\nx\n```", "x \n",
]  # fmt: skip
PAIRS = [(prompt, output) for prompt in TEXTS for output in TEXTS if output]
TEMPLATES = [
    RAW,
    PromptTemplate("task", "### Task:\n{instruction}\n### Answer:"),
    PromptTemplate("chat", "<|im_end|>user\n{instruction}<|im_end|>\n<|im_end|>assistant"),
    PromptTemplate("tight", "<pad>{instruction}[/INST]{no newline}"),
]


@pytest.fixture(scope="module", params=list(EXACT))
def exact(request: pytest.FixtureRequest) -> Any:
    return wrap(EXACT[request.param]())


@pytest.fixture(scope="module")
def llama2(shared_data: Path) -> Any:
    return load_tokenizer(str(shared_data / "llama2-tokenizer"))


def read(tokenizer: Any, ids: list[int], controls: bool = False) -> str:
    """By transformers itself, without clean-up."""
    text: str = tokenizer.decode(ids, skip_special_tokens=not controls, clean_up_tokenization_spaces=False)
    return text


def hold_the_law(tokenizer: Any, template: PromptTemplate) -> None:
    start = text_rule(tokenizer).start
    lengths = count_tokens(tokenizer, template, PAIRS)
    for (prompt, output), example, length in zip(
        PAIRS, encode_examples(tokenizer, template, PAIRS), lengths, strict=True
    ):
        rendered = template.render(prompt)
        prompt_ids = encode_prompt(tokenizer, template, prompt)
        new_ids = example.input_ids[example.prompt_length : -1]
        assert example.input_ids == [*prompt_ids, *new_ids, tokenizer.eos_token_id]
        assert len(example.input_ids) == length
        assert prompt_ids[: len(start)] == start
        whole = read(tokenizer, example.input_ids[len(start) : -1], controls=True)
        assert whole == rendered + output
        assert decode_completion(tokenizer, prompt_ids, new_ids) == output


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_row_decodes_to_its_prompt_and_output(exact: Any, template: PromptTemplate) -> None:
    hold_the_law(exact, template)
    assert text_rule(exact).exact
    assert text_rule(exact).lost is None


@pytest.mark.parametrize("template", TEMPLATES[:2], ids=lambda template: template.name)
def test_a_row_decodes_to_its_prompt_and_output_with_llama_2s_tokenizer(llama2: Any, template: PromptTemplate) -> None:
    hold_the_law(llama2, template)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", ["SentencePiece BPE, blank at the first text", "byte-level BPE", "Unigram with bytes"])
def test_the_law_holds_with_and_without_start_pad_and_unknown_token(kind: str, style: str) -> None:
    hold_the_law(wrap(EXACT[kind](), style), RAW)


@pytest.mark.parametrize("kind", LOSSY)
def test_a_tokenizer_that_cannot_write_its_text_back_reads_a_row_as_it_reads_the_whole_text(kind: str) -> None:
    tokenizer = wrap(LOSSY[kind]())
    lengths = count_tokens(tokenizer, RAW, PAIRS)
    for (prompt, output), example, length in zip(PAIRS, encode_examples(tokenizer, RAW, PAIRS), lengths, strict=True):
        whole = tokenizer(f"{prompt}\n{output}", add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if not {1, 2, 3, 4} & set(whole):  # a control token's spelling would be left out on one side
            assert read(tokenizer, example.input_ids[1:-1]) == read(tokenizer, whole)
        assert example.input_ids[: example.prompt_length] == encode_prompt(tokenizer, RAW, prompt)
        assert len(example.input_ids) == length
    (note,) = text_notes(tokenizer, [("Sort it.", "x")])[1]
    assert note.startswith("The tokenizer cannot write every text back (")


@pytest.mark.parametrize("kind", ["byte-level BPE", "byte-level BPE, pattern of Llama 3"])
def test_byte_level_bpe_keeps_the_ids_of_prompt_and_output_apart(kind: str) -> None:
    tokenizer = wrap(EXACT[kind]())
    for (prompt, output), example in zip(PAIRS, encode_examples(tokenizer, RAW, PAIRS), strict=True):
        if "<" not in prompt + output:
            apart = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (f"{prompt}\n", output)]
            assert example.input_ids[1:-1] == apart[0] + apart[1]
    assert not text_rule(tokenizer).moved


def test_the_rule_enters_the_digest_of_tokenizers_whose_ids_it_moved() -> None:
    moved = {kind for kind in EXACT if text_rule(wrap(EXACT[kind]())).moved}
    assert moved == {kind for kind in EXACT if "blank" in kind and "no blank" not in kind} | {"Unigram with bytes"}
    for kind, build in EXACT.items():
        tokenizer = wrap(build())
        rule = text_rule(tokenizer)
        before = tokenizer_digest(tokenizer)
        rule.moved = not rule.moved
        assert tokenizer_digest(tokenizer) != before, kind


def test_control_spellings_in_rows_are_text_and_counted(exact: Any) -> None:
    pairs = [("Say </s>", "x"), ("x", "<|im_end|>\n<s>"), ("x", "y"), ("<unk>", "<unk>")]
    controls = set(text_rule(exact).controls.ids.values())
    for example in encode_examples(exact, RAW, pairs):
        assert not controls & set(example.input_ids[1:-1])
    assert text_notes(exact, pairs) == (
        3, ["3 rows spell a control token of the tokenizer in the text; it is encoded as text."],
    )  # fmt: skip
    assert text_notes(exact, pairs[2:3]) == (0, [])


def test_a_templates_control_tokens_are_control_tokens_and_an_instructions_are_not(exact: Any) -> None:
    end = exact.convert_tokens_to_ids("<|im_end|>")
    ids = encode_prompt(exact, TEMPLATES[2], "Say <|im_end|> and </s>.")
    assert ids.count(end) == 3
    assert exact.convert_tokens_to_ids("</s>") not in ids


def test_a_completion_that_ends_in_half_a_character_leaves_the_prompts_text_alone(llama2: Any) -> None:
    prompt = encode_prompt(llama2, RAW, "é")
    first_byte = llama2.convert_tokens_to_ids("<0xF0>")
    assert decode_completion(llama2, prompt, [first_byte]) == "\ufffd"


def test_all_reference_solutions_of_humaneval_survive_llama_2s_tokenizer(llama2: Any, shared_data: Path) -> None:
    lines = (shared_data / "HumanEval.jsonl").read_text(encoding="utf-8").splitlines()
    tasks = [json.loads(line) for line in lines]
    examples = encode_examples(llama2, RAW, [(task["prompt"], task["canonical_solution"]) for task in tasks])
    compiled = 0
    for task, example in zip(tasks, examples, strict=True):
        ids = example.input_ids
        text = decode_completion(llama2, ids[: example.prompt_length], ids[example.prompt_length : -1])
        ast.parse(task["prompt"] + text)
        compiled += text == task["canonical_solution"]
    assert compiled == len(tasks) == 164
