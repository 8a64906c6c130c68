"""Conversations under the text law: their ids spell what is rendered, every answer continues its own prompt."""

from __future__ import annotations

from typing import Any

import pytest

from curate.errors import UserError
from curate.pool.dialogue import Dialogue
from curate.pool.read_options import ALL, LAST
from curate.tokens import (
    RAW,
    PromptTemplate,
    chat_template,
    count_tokens,
    encode_examples,
    encode_prompt,
    load_tokenizer,
)
from curate.tokens.text_rule import text_rule
from curate.tokens.tokenizers import decode_completion
from tests.curate.tokens.tokenizer_families import EXACT, LOSSY, wrap

ROUNDS = (
    ("Hi </s>", "Hello <|im_end|>.\n"),
    (" Sort it.\n", "    return sorted(xs)"),
    ("日本語?", "```python\nx\n```\n"),
    ("", " é😀"),
)
CHATML = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
# As Qwen3's: an empty thought before the last answer, none before earlier ones, whose thinking is dropped.
THINKING = (
    "{% for m in messages %}{% set text = m.content.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' "
    "else m.content %}<s>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ text }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
NUMBERED = (
    "{% for m in messages %}[{{ loop.index }}] {{ m.content }}{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}"
)
FILE = PromptTemplate("file", "### Task: {instruction}\n### Answer:")
TWO_ROUNDS = PromptTemplate("file", "Q: {instruction}\nA: {answer}<|im_end|>\n<pad>Q: {instruction}\nA: {no newline}")


def chat(template: str, kind: str = "byte-level BPE", style: str = "start token not added") -> Any:
    tokenizer = wrap(EXACT[kind](), style)
    tokenizer.chat_template = template
    return tokenizer


def read(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def messages(n: int, system: str = "") -> list[dict[str, str]]:
    return Dialogue(ROUNDS[:n], system).as_messages()


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("template", [RAW, FILE, TWO_ROUNDS], ids=["raw", "file", "two rounds"])
def test_every_answer_continues_the_prompt_that_asks_for_it(kind: str, template: PromptTemplate) -> None:
    tokenizer = wrap(EXACT[kind]())
    start, end = text_rule(tokenizer).start, [tokenizer.eos_token_id]
    for system in ("", "Be brief."):
        whole = Dialogue(ROUNDS, system)
        (example,) = encode_examples(tokenizer, template.for_turns(ALL), [whole])
        spans = [*example.earlier_answers, (example.prompt_length, len(example.input_ids))]
        assert len(spans) == len(ROUNDS)
        for n, (first, last) in enumerate(spans, start=1):
            asked = Dialogue(ROUNDS[:n], system)
            assert encode_prompt(tokenizer, template.for_turns(ALL), asked) == example.input_ids[:first]
            (shorter,) = encode_examples(tokenizer, template.for_turns(ALL), [asked])
            assert shorter.input_ids == example.input_ids[:last] + (end if [example.input_ids[last - 1]] != end else [])
            assert (
                decode_completion(tokenizer, example.input_ids[:first], example.input_ids[first:last])
                == ROUNDS[n - 1][1]
            )
        (only_last,) = encode_examples(tokenizer, template.for_turns(LAST), [whole])
        assert only_last.input_ids == example.input_ids
        assert (only_last.prompt_length, only_last.earlier_answers) == (example.prompt_length, ())
        assert count_tokens(tokenizer, template.for_turns(ALL), [whole]).tolist() == [len(example.input_ids)]
        before, after = template.around
        if template is not TWO_ROUNDS:
            texts = [f"{before}{question}{after}{answer}</s>" for question, answer in ROUNDS]
            texts[0] = texts[0].replace(before, f"{before}{system}\n", 1) if system else texts[0]
            assert read(tokenizer, example.input_ids[len(start) :]) == "".join(texts)


@pytest.mark.parametrize("kind", EXACT)
def test_one_round_has_the_ids_of_a_single_question_and_answer(kind: str) -> None:
    tokenizer = chat(CHATML, kind)
    for template in (RAW, FILE, chat_template(chat(LLAMA2, kind), "all")):
        single = encode_examples(tokenizer, template, [ROUNDS[0]])
        assert encode_examples(tokenizer, template.for_turns(ALL), [Dialogue(ROUNDS[:1])]) == single


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("style", ["start, unknown and pad token", "start token not added"])
@pytest.mark.parametrize("jinja", [CHATML, LLAMA2, THINKING], ids=["ChatML", "Llama 2", "thinking"])
def test_the_prompt_of_the_last_answer_spells_what_the_chat_template_writes(kind: str, style: str, jinja: str) -> None:
    tokenizer = chat(jinja, kind, style)
    template = chat_template(tokenizer, LAST)
    start = text_rule(tokenizer).start
    for n in (1, 2, 3, 4):
        for system in ("", "Be brief.") if jinja != LLAMA2 else ("",):
            written = tokenizer.apply_chat_template(
                messages(n, system)[:-1], tokenize=False, add_generation_prompt=True
            )
            ids = encode_prompt(tokenizer, template, Dialogue(ROUNDS[:n], system))
            assert read(tokenizer, ids[len(start) :]) == (written.removeprefix("<s>") if start else written)


def test_all_answers_of_a_chat_spell_what_the_template_writes_and_carry_loss_with_their_ends() -> None:
    tokenizer = chat(CHATML)
    (example,) = encode_examples(tokenizer, chat_template(tokenizer, ALL), [Dialogue(ROUNDS)])
    written = tokenizer.apply_chat_template(messages(4), tokenize=False)
    assert read(tokenizer, example.input_ids) == written.removesuffix("\n") + "</s>"
    assert [read(tokenizer, example.input_ids[first:last]) for first, last in example.earlier_answers] == [
        f"{answer}<|im_end|>" for _, answer in ROUNDS[:-1]
    ]
    assert read(tokenizer, example.input_ids[example.prompt_length :]) == f"{ROUNDS[-1][1]}<|im_end|></s>"


def test_a_template_that_drops_earlier_thinking_is_refused_for_all_and_drops_it_for_last() -> None:
    tokenizer = chat(THINKING)
    with pytest.raises(UserError, match="since it drops the thinking of earlier answers.* Use --turns last"):
        chat_template(tokenizer, ALL)
    template = chat_template(tokenizer, LAST)
    assert template.notes == ("The chat template drops the thinking of earlier answers; so do these rows.",)
    thought = [("a", "<think>\nlong\n</think>\n\nb"), ("c", "<think>\nmore\n</think>\n\nd")]
    (example,) = encode_examples(tokenizer, template, [Dialogue(tuple(thought))])
    written = tokenizer.apply_chat_template(
        Dialogue(tuple(thought)).as_messages()[:-1], tokenize=False, add_generation_prompt=True
    )
    assert "long" not in written
    assert read(tokenizer, example.input_ids[: example.prompt_length]) == written
    assert read(tokenizer, example.input_ids[example.prompt_length :]).startswith("<think>\nmore\n</think>\n\nd")


def test_a_template_that_writes_each_round_otherwise_is_refused() -> None:
    with pytest.raises(UserError, match="does not write every round of a conversation in the same way"):
        chat_template(chat(NUMBERED), LAST)


def test_a_template_that_takes_no_system_message_has_it_before_the_first_question() -> None:
    tokenizer = chat(LLAMA2)
    ids = encode_prompt(tokenizer, chat_template(tokenizer, ALL), Dialogue((("a", "b"),), "Be brief."))
    assert read(tokenizer, ids) == "<s>[INST] Be brief.\na [/INST]"


@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_tokenizer_keeps_the_borders_of_conversations(kind: str) -> None:
    tokenizer = wrap(LOSSY[kind]())
    (example,) = encode_examples(tokenizer, FILE.for_turns(ALL), [Dialogue(ROUNDS)])
    for n, (first, last) in enumerate(example.earlier_answers, start=1):
        assert encode_prompt(tokenizer, FILE.for_turns(ALL), Dialogue(ROUNDS[:n])) == example.input_ids[:first]
        assert example.input_ids[last - 1] == tokenizer.eos_token_id


@pytest.mark.long
def test_smollm2s_template_writes_conversations_as_transformers_does() -> None:
    tokenizer = load_tokenizer("smollm2-135m")
    for system in ("", "Be brief."):
        written = tokenizer.apply_chat_template(messages(3, system), tokenize=False)
        (example,) = encode_examples(tokenizer, chat_template(tokenizer, ALL), [Dialogue(ROUNDS[:3], system)])
        assert read(tokenizer, example.input_ids) == written.removesuffix("\n")


# Mistral's of version 0.3: a system message stands in the last question.
SYSTEM_LAST = (
    "{%- if messages[0]['role'] == 'system' %}{%- set said = messages[0]['content'] %}"
    "{%- set messages = messages[1:] %}{%- endif %}{%- for m in messages %}{%- if m['role'] == 'user' %}{{ '[INST] ' }}"
    "{%- if loop.last and said is defined %}{{ said + '\n\n' }}{%- endif %}{{ m['content'] + '[/INST]' }}"
    "{%- else %}{{ ' ' + m['content'] + eos_token }}{%- endif %}{%- endfor %}"
)


@pytest.mark.parametrize("turns", [LAST, ALL])
def test_a_template_with_its_system_message_in_the_last_question_is_taken_and_said(turns: str) -> None:
    tokenizer = chat(SYSTEM_LAST)
    template = chat_template(tokenizer, turns)
    assert template.notes[0].startswith("The chat template writes a system message in the last question; one that is k")
    assert read(tokenizer, encode_prompt(tokenizer, template, Dialogue((("a", "b"),), "Be brief."))) == (
        "[INST] Be brief.\na[/INST]"
    )
    prompt = read(tokenizer, encode_prompt(tokenizer, template, Dialogue((("a", "b"), ("c", "d")))))
    assert prompt == {LAST: "[INST] a[/INST] b</s>[INST] c[/INST]", ALL: "[INST] a[/INST]b</s>[INST] c[/INST]"}[turns]
