"""`finetune check --row`: what a run reads of a row, token by token."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from rich.style import Style

from curate.selection.record import read_selection
from finetune.check.row_marks import SHADES, as_terminal_text, legend, row_marks
from finetune.check.row_tokens import RowToken, RowView
from finetune.check.row_view import token_texts, view_row
from finetune.cli import main
from finetune.config import load_config

SETTINGS = ["device=cpu", "load_in_4bit=false"]


def test_the_tokens_spell_the_row_and_the_output_and_the_end_token_alone_carry_loss(made_selection: Path) -> None:
    from curate.tokens.tokenizers import load_tokenizer

    selection = read_selection(made_selection)
    view = view_row(load_config(None, overrides=SETTINGS, model=selection.manifest.config["model"]), selection, 3)
    row = selection.selected[2]
    *texts, end = [token.text for token in view.tokens]
    assert "".join(texts) == f"{row.instruction}\n{row.output}"
    assert end == load_tokenizer("smollm2-135m").eos_token
    trained = "".join(token.text for token in view.tokens if token.carries_loss)
    assert trained == row.output + end
    assert len(view.tokens) == row.token_count
    assert view.tokens[-1].kind == "end token"
    assert view.summary.endswith("The last one, which is the end token, carries loss.")


def test_the_base_models_loss_stands_at_the_tokens_that_carry_loss_and_shades_the_page(
    made_selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", "--selection", str(made_selection), "--row", "1", "--loss", *SETTINGS]
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    losses = [token["loss"] for token in shown["tokens"] if token["carries_loss"]]
    assert all(loss == pytest.approx(math.log(49152), abs=0.5) for loss in losses)  # an untrained model guesses
    assert all(token["loss"] is None for token in shown["tokens"] if not token["carries_loss"])
    assert main([*words, "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count('<span class="token learnt t5" title="') == len(losses)  # none that an untrained model expects
    assert "<small> end token </small>" in page


def test_terminal_and_page_show_the_same_marks_darker_where_the_base_model_expects_less() -> None:
    kinds = [("start token", False, None), ("text", False, None), ("text", True, 0.2), ("text", True, 4.0)]
    tokens = [
        RowToken(id=place, text=f"t{place}\n", kind=kind, carries_loss=carries, loss=loss)
        for place, (kind, carries, loss) in enumerate(kinds)
    ]
    view = RowView(number=1, row_id="a", tokens=tokens)
    assert [(mark.text, mark.level) for mark in row_marks(view)] == [
        ("t0↵\n", 0), ("t1↵\n", 0), ("t2↵\n", 1), ("t3↵\n", 5),
    ]  # fmt: skip
    text = as_terminal_text(view)
    assert text.plain.startswith("t0↵\n (start token) t1↵\nt2↵\nt3↵\n")
    shown = [span.style for span in text.spans if isinstance(span.style, Style)]
    assert [(style.underline, style.bgcolor and style.bgcolor.name) for style in shown[:4]] == [
        (False, None), (False, None), (True, SHADES[0]), (True, SHADES[4]),
    ]  # fmt: skip
    assert [losses for _, losses in legend()] == ["below 0.5", "0.5 to 1", "1 to 2", "2 to 4", "4 and more"]


def test_what_a_token_hides_is_spelt_out() -> None:
    token = RowToken(id=1, text="\x1b[31m\u202e", kind="text", carries_loss=True)
    assert as_terminal_text(RowView(number=1, row_id="a", tokens=[token])).plain == "␛[31m<U+202E>"


def test_a_characters_last_token_shows_it_and_a_control_token_its_name() -> None:
    from curate.tokens.tokenizers import load_tokenizer

    tokenizer = load_tokenizer("smollm2-135m")
    ids = [tokenizer.eos_token_id, *tokenizer("a 😀b")["input_ids"]]
    texts = token_texts(tokenizer, ids)
    assert texts[:2] == ["<|im_end|>", "a"]
    assert texts[-1] == "b"
    assert "😀" in texts[-2]
    assert len(texts) == len(ids) == 5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["--row", "999"], "--row is 999. Allowed: 1 to 40."), (["--loss"], "--loss and --out show a row. Add --row 1.")],
)
def test_a_row_that_is_not_there_is_a_usage_error(
    made_selection: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["check", "--selection", str(made_selection), *words, *SETTINGS]) == 2
    assert sentence in capsys.readouterr().err
