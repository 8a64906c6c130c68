"""A chat template as a prompt template: its start token, its end, and the date some of them print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.cli import main
from curate.errors import UserError
from curate.selection.record import read_selection
from curate.tokens import PromptTemplate, chat_template, encode_prompt, load_tokenizer
from curate.tokens.tokenizers import refuse_earlier_rule, tokenizer_digest
from finetune.check.preflight import check
from finetune.config import RunConfig
from tests.curate.tokens.tokenizer_families import EXACT, wrap

USER = "{{ bos_token }}{{ messages[0].content }}"
DATED = "{{ strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024' }}\n" + USER + "\n"
LLAMA, BYTES = "SentencePiece BPE, blank at the first text", "byte-level BPE"


def chat(template: str, kind: str = LLAMA, style: str = "start, unknown and pad token") -> Any:
    tokenizer = wrap(EXACT[kind](), style)
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("kind", [LLAMA, BYTES])
@pytest.mark.parametrize("style", ["start, unknown and pad token", "start token not added"])
@pytest.mark.parametrize("template", [USER + "<|im_end|>\n", USER + " [/INST]", "<|im_end|>" + USER + "\n\n"])
def test_the_ids_of_a_chat_prompt_spell_what_the_chat_template_writes(kind: str, style: str, template: str) -> None:
    tokenizer = chat(template, kind, style)
    ids = encode_prompt(tokenizer, chat_template(tokenizer), "Hi </s>")
    written = tokenizer.apply_chat_template([{"role": "user", "content": "Hi </s>"}], tokenize=False)
    start = [tokenizer.bos_token_id]
    assert ids[:1] == start or template.startswith("<|im_end|>")
    own = ids[1:] if style.startswith("start, ") else ids
    text = tokenizer.decode(own, clean_up_tokenization_spaces=False)
    assert text == (written.removeprefix("<s>") if style.startswith("start, ") else written)


def test_smollm2s_start_token_is_kept() -> None:
    tokenizer = load_tokenizer("smollm2-135m")
    message = [{"role": "user", "content": "Hi"}]
    written = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert written.startswith("<|im_start|>system\nYou are ")
    assert tokenizer.decode(encode_prompt(tokenizer, chat_template(tokenizer), "Hi")) == written


def test_a_template_that_prints_the_date_prints_the_same_one_every_day_and_says_so() -> None:
    template = chat_template(chat(DATED))
    assert template == PromptTemplate("chat", "26 Jul 2024\n<s>{instruction}{no newline}")
    assert template.notes == (
        "The chat template prints today's date; it is frozen at 26 Jul 2024, so that the same pool and settings give "
        "the same selection on every day.",
    )
    assert chat_template(chat(USER)).notes == ()


def test_a_tokenizer_without_chat_template_says_so() -> None:
    with pytest.raises(UserError, match="This tokenizer has no chat template"):
        chat_template(wrap(EXACT[BYTES]()))


def test_a_selection_of_the_earlier_text_rule_is_refused_and_named() -> None:
    moved, same = wrap(EXACT[LLAMA]()), wrap(EXACT[BYTES]())
    from curate.tokens import tokenizers

    for tokenizer in (moved, same):
        refuse_earlier_rule(tokenizer, tokenizer_digest(tokenizer), "mine")
    earlier = tokenizers.digest_json(tokenizers._identity(same))
    assert tokenizer_digest(same) == earlier
    with pytest.raises(UserError, match="The selection mine was made when prompt and output were tokenised apart"):
        refuse_earlier_rule(moved, tokenizers.digest_json(tokenizers._identity(moved)), "mine")


def test_select_and_check_count_the_rows_that_spell_control_tokens_and_name_the_frozen_date(tmp_path: Path) -> None:
    tokenizer = chat(DATED)
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"instruction": f"Sort item{i}.", "output": f"def f{i}(x):\n    return x\n"} for i in range(60)]
    rows[3]["output"] += "</s>"
    rows[4]["output"] = "<|im_end|>\n" + rows[4]["output"]
    rows[5]["instruction"] = "Explain <pad>"
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--encoder", "tfidf", "--strategy", "first", "--clean", "none", "--near-duplicate", "1", "--holdout", "5"]
    words += ["--k", "20", "--min-tokens", "1", "--dataset", str(source), "--model", str(tmp_path / "model")]
    assert main(["select", *words, "--prompt-template", "chat", "--out", str(tmp_path / "out")]) == 0
    selection = read_selection(tmp_path / "out")
    spelled = "3 rows spell a control token of the tokenizer in the text; it is encoded as text."
    assert [note for note in selection.manifest.config["notes"] if "control" in note] == [spelled]
    assert any("frozen at 26 Jul 2024" in note for note in selection.manifest.config["notes"])
    notes = check(RunConfig(model=str(tmp_path / "model")), selection).notes
    picked = [f"{row.instruction}{row.output}" for row in selection.selected]
    n = sum("</s>" in text or "<|im_end|>" in text or "<pad>" in text for text in picked)
    assert n > 0 and notes[0].startswith(f"{n} row")
