"""The packaged prompts, and what is said about a prompt file that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.errors import UserError
from evaluate_suite.raw_prompts import RawPrompt, load_raw_prompts


def test_the_packaged_set_has_many_languages_lengths_and_no_repeats() -> None:
    prompts = load_raw_prompts()
    assert len(prompts) == 72
    assert len({prompt.prompt for prompt in prompts}) == 72
    assert {prompt.language for prompt in prompts} >= {
        "python", "javascript", "sql", "bash", "cpp", "java", "rust", "html", "css", "regex", None,
    }  # fmt: skip
    lengths = sorted(len(prompt.prompt) for prompt in prompts)
    assert (lengths[0], lengths[-1]) == (17, 798)
    assert not any("###" in prompt.prompt for prompt in prompts)


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
