"""`finetune try`: what a run answers, as it comes, without a network and without a fuss."""

from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path

import pytest

from finetune.cli import main
from tests.finetune.conftest import QUICK


@pytest.fixture(scope="module")
def trained(made_selection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial") / "run"
    assert main(["run", "--selection", str(made_selection), "--out", str(folder), "--track", "none", *QUICK]) == 0
    return folder


def answers(trained: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert main(["try", str(trained), "--json", "--max-new-tokens", "12", *more]) == 0
    return dict(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("place", ["home", "a folder"])
def test_a_run_ends_with_the_command_that_tries_it_and_says_where_the_python_stands(
    place: str,
    made_selection: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROWPICK_HOME", str(tmp_path / "home"))
    out = [] if place == "home" else ["--out", str(tmp_path / place)]
    assert main(["run", "--selection", str(made_selection), *out, "--track", "none", *QUICK]) == 0
    run = capsys.readouterr()
    folder = Path(run.out.strip())
    name = folder.name if place == "home" else f"'{folder}'"
    assert run.err.endswith(f"Try it (from Python: {folder / 'README.md'}):\n\nfinetune try {name}\n\n")
    assert "load_run" not in run.err and "load_run" in (folder / "README.md").read_text()
    words = shlex.split(run.err.splitlines()[-2])
    assert main([*words[1:], "--prompt", "sort", "--max-new-tokens", "1"]) == 0


def test_the_answer_is_the_models_greedy_text_and_the_base_models_stands_beside_it(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from curate.tokens.tokenizers import encode_prompt
    from finetune.export.merged_model import greedy_texts
    from finetune.model import adapter_off, load_run
    from finetune.run.record import read_run

    model, tokenizer = load_run(trained)
    ids = [encode_prompt(tokenizer, read_run(trained).read_selection().template, "sort a list")]
    tuned = greedy_texts(model, tokenizer, ids)[0]
    with adapter_off(model):
        untuned = greedy_texts(model, tokenizer, ids)[0]
    told = answers(trained, capsys, "--prompt", "sort a list", "--base")
    assert tuned.startswith(str(told["tuned"]["text"])) and told["tuned"]["tokens"] == 12
    assert untuned.startswith(str(told["base"]["text"]))
    assert told["base"]["text"] != told["tuned"]["text"]
    assert told["prompt"] == "sort a list"


def test_a_piped_text_is_one_prompt_and_what_is_streamed_is_the_same_answer(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(trained, capsys, "--prompt", "sort a\nlist")["tuned"]["text"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("sort a\nlist\n"))
    assert main(["try", str(trained), "--max-new-tokens", "12"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{expected}\n"
    assert "12 tokens, cut at --max-new-tokens" in shown.err


def test_typed_lines_are_prompts_until_the_end_of_input_and_ctrl_c_is_130(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Typed(io.StringIO):
        def isatty(self) -> bool:
            return True

        def readline(self, *_: object) -> str:  # type: ignore[override]
            line = super().readline()
            if line == "^C\n":
                raise KeyboardInterrupt
            return line

    monkeypatch.setattr(sys, "stdin", Typed("sort a list\n\ncopy a file\n"))
    assert main(["try", str(trained), "--max-new-tokens", "2", "--base"]) == 0
    assert capsys.readouterr().out.count("--- tuned ---") == 2
    monkeypatch.setattr(sys, "stdin", Typed("sort a list\n^C\n"))
    assert main(["try", str(trained), "--max-new-tokens", "2"]) == 130


@pytest.mark.parametrize(
    ("words", "typed", "code", "sentence"),
    [
        ([], "", 1, 'There is no prompt. Give --prompt "...", or pipe one in.'),
        (["--prompt", "a " * 600], "", 1, "more than the model's context of 512. Shorten it"),
        (["--max-new-tokens", "0"], "", 2, "max-new-tokens"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    trained: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    typed: str,
    code: int,
    sentence: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert main(["try", str(trained), *words]) == code
    assert sentence in capsys.readouterr().err


def test_a_character_in_several_tokens_is_shown_when_it_is_whole_and_escape_sequences_reach_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from curate.tokens.tokenizers import load_tokenizer
    from finetune.export.trial import _Streamer, write_piece

    tokenizer = load_tokenizer("smollm2-135m")
    pieces: list[str] = []
    streamer = _Streamer(tokenizer, [10], [tokenizer.eos_token_id], pieces.append)
    streamer.put(torch.tensor([[10]]))
    for id in [*tokenizer("日本 x")["input_ids"], tokenizer.eos_token_id]:
        streamer.put(torch.tensor([id]))
    streamer.end()
    assert ("".join(pieces), streamer.text, streamer.ended) == ("日本 x", "日本 x", True)
    assert not any("\ufffd" in piece for piece in pieces)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    write_piece("a\x1b[2Jb\n\tc")
    assert capsys.readouterr().out == "a\ufffd[2Jb\n\tc"
