"""The packaged prompts, and what is said about a prompt file that is wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from curate.errors import UserError
from evaluate_suite.generation.raw_prompts import RawPrompt, load_raw_prompts


def test_the_packaged_set_has_many_languages_lengths_and_no_repeats() -> None:
    prompts = load_raw_prompts()
    assert len(prompts) == 96
    assert len({prompt.prompt for prompt in prompts}) == 96
    counts = Counter(prompt.language for prompt in prompts)
    assert len(counts) == 17
    assert counts["python"] == 45  # the rest is spread: other languages, and prompts that name none
    lengths = sorted(len(prompt.prompt) for prompt in prompts)
    assert (lengths[0], lengths[-1]) == (17, 798)
    assert sum(n < 80 for n in lengths) >= 40
    assert sum(n > 250 for n in lengths) >= 5
    assert not any("###" in prompt.prompt for prompt in prompts)


def test_the_packaged_set_is_typed_by_people() -> None:
    prompts = load_raw_prompts()
    tags = Counter(tag for prompt in prompts for tag in prompt.tags)
    assert all(tags[tag] >= 3 for tag in ("typos", "paste", "bug", "question", "refactor", "function", "long"))
    assert {"spanish", "german", "french", "hinglish", "chinese"} <= set(tags)
    assert sum(prompt.prompt[0].islower() for prompt in prompts) > 0.6 * len(prompts)


def test_the_language_a_prompt_is_filed_under_is_the_one_its_words_ask_for() -> None:
    from curate.code.languages import language_asked

    prompts = [prompt for prompt in load_raw_prompts() if prompt.language]
    found = [language_asked(prompt.prompt) for prompt in prompts]
    read = [(f, p.language) for f, p in zip(found, prompts, strict=True) if f is not None]
    assert sum(f == asked for f, asked in read) >= 0.95 * len(read)


def test_a_users_file_needs_only_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "fizzbuzz"}\n\n{"prompt": "b", "prompt_id": "x", "language": "JS", "tags": ["a"]}\n')
    assert load_raw_prompts(path) == [
        RawPrompt("prompt-1", "fizzbuzz"),
        RawPrompt("x", "b", "javascript", ("a",)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no prompts"),
        ('{"prompt": "a"}\n\n{"promt": "b"}\n', ':3: unknown field "promt". Did you mean "prompt"'),
        ('{"tags": []}\n', ":1: the field prompt is missing"),
        ('{"prompt": 3}\n', ":1: the field prompt is missing, empty or not text"),
        ('{"prompt": "a", "language": "pyton"}\n', 'unknown language "pyton". Did you mean "python"'),
        ('{"prompt": "a", "tags": "short"}\n', "tags is not a list of texts"),
        ('{"prompt": "a", "prompt_id": 3}\n', "prompt_id is not text"),
        ('{"prompt": "a"}\n{"prompt": \n', ":2: not a line of JSON"),
        ('{"prompt": "a", "prompt_id": "x"}\n{"prompt": "b", "prompt_id": "x"}\n', ':2: prompt_id "x" already stands'),
    ],
)
def test_a_wrong_prompt_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_raw_prompts(path)
    assert message in str(error.value)


def test_a_prompt_file_that_is_absent_or_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_raw_prompts(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="is a folder"):
        load_raw_prompts(tmp_path)
