"""The text law: a row's ids spell the rendered prompt and the output, and nothing that is in neither.

A tokenizer made with SentencePiece puts a blank before every text it is given. Where prompt and output are given to
it one after the other, that blank stands in the middle of the row. So the prompt is tokenised as the beginning of a
text, exactly as in generation, and the output as the rest of that text: with the tokenizer's own normaliser, splitting
and merges, without what it puts before a text. Nothing is merged across the border, because a prompt's ids are what a
generation starts from and may not depend on what follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from curate.tokens.codecs import Codec, FastCodec, PlainCodec
from curate.tokens.prompt import PromptTemplate, start_ids

# Enters every digest of what the ids decide. 1: prompt and output were tokenised as two texts, control spellings in a
# row became control tokens.
TEXT_RULE = 2

_BEGINNINGS = ("a", "a b", " a", "  a")
_PROMPTS = ("Sort it.\n", " x\n", "é\n\n", "a \n")
_OUTPUTS = (
    "a", "def f(x):\n    return x\n", " a", "    x = 1\n", "\ta", "\na", "\n\n  a", " \n", "A", "1.", "```", "é",
    "日本", "😀",
)  # fmt: skip
# What a tokenizer may not be able to write back: case, white space, accents, letters NFKC or NFC replaces, emoji.
_WRITTEN = ("a b", "A", "a\n", "a  b", "\ta", "é", "日本", "😀", "\ufb01", "e\u0301")
_BYTE = re.compile("<0x[0-9A-F]{2}>")
_ANCHORS = ("\n", ".", "a")


class TextRule:
    """How one tokenizer turns prompts and outputs into ids under the text law.

    `start` are the ids it puts before a text. `exact` is False where the rule has to look at every row: its ids then
    read like those of the whole text, which is all that a tokenizer can be held to that cannot write its text back;
    `lost` is an example of that, (text, what it is read back as). `moved` says that ids differ from text rule 1.
    """

    def __init__(self, tokenizer: Any) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self.codec: Codec = PlainCodec(tokenizer) if backend is None else FastCodec(backend)
        self.start = start_ids(tokenizer)
        self.controls = _Controls(tokenizer)
        self.lead = self._find_lead()
        self.leaky = any(id in ids for text, id in self.controls.ids.items() for ids in self._probe(text))
        self.lost = next(((text, back) for text in _WRITTEN if (back := self._read_back(text)) != text), None)
        if self.lost is not None:
            self.lead = ""
        self.exact = self._seam_is_exact()
        self.moved = bool(self.lead) or self.codec.has_prefix or not self.exact

    def begin(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text as the beginning of a sequence, without start token; control spellings are text."""
        return self._encode(self.codec.begin, [self._led(text) for text in texts])

    def resume(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text as the rest of a sequence: nothing is put before it."""
        return self._encode(self.codec.resume, texts)

    def lengths(self, prompts: Sequence[str], outputs: Sequence[str]) -> list[int]:
        """How many ids `begin` and `resume` would give for each pair; only where the rule is exact."""
        begun = self._lengths(self.codec.begin, self.codec.begin_lengths, [self._led(text) for text in prompts])
        resumed = self._lengths(self.codec.resume, self.codec.resume_lengths, outputs)
        return [a + b for a, b in zip(begun, resumed, strict=True)]

    def encode_prompts(self, template: PromptTemplate, instructions: Sequence[str]) -> list[list[int]]:
        """The ids generation starts from, start token included.

        Control tokens that the template's own text spells are control tokens; those of an instruction are text.
        """
        before, after = template.around
        parts, place = self.controls.parts(before, after)
        if len(parts) == 1:
            return [self.start + ids for ids in self.begin([f"{before}{each}{after}" for each in instructions])]
        prompts = [list(self.start) for _ in instructions]
        for number, part in enumerate(parts):
            encode = self.begin if number == 0 else self.resume
            if isinstance(part, int):
                sections = [[part]] * len(prompts)
            elif number == place:
                sections = encode([self._strip(part[0] + each + part[1], parts, number) for each in instructions])
            else:
                sections = encode([self._strip(part[0] + part[1], parts, number)]) * len(prompts)
            for prompt, section in zip(prompts, sections, strict=True):
                prompt += section
        return prompts

    def has_controls(self, template: PromptTemplate) -> bool:
        """Whether the template's own text spells a control token."""
        return len(self.controls.parts(*template.around)[0]) > 1

    def encode_outputs(self, prompts: Sequence[str], outputs: Sequence[str]) -> list[list[int]]:
        """The ids that continue each prompt (its text, as far back as the last control token)."""
        resumed = self.resume(outputs)
        if self.exact:
            return resumed
        return [self._search(*each) for each in zip(prompts, self.begin(prompts), outputs, resumed, strict=True)]

    def last_section(self, template: PromptTemplate, instruction: str) -> str:
        """The rendered prompt behind its last control token."""
        before, after = template.around
        parts, place = self.controls.parts(before, after)
        last = parts[-1]
        if isinstance(last, int):
            return ""
        return last[0] + instruction + last[1] if place == len(parts) - 1 else last[0] + last[1]

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids of `begin`, `resume` or both spell, control tokens left out."""
        return self.codec.decode(self._without_controls(ids))

    def decode_completion(self, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
        """What new ids add to the text of the prompt's.

        Decoded alone they would lose their first blank, which a SentencePiece decoder takes for the one it put there.
        Where they begin with a piece of a character that spoils the prompt's last byte, they are decoded by a decoder
        that strips nothing.
        """
        before, whole = self.decode(prompt_ids), self.decode([*prompt_ids, *new_ids])
        if whole.startswith(before):
            return whole[len(before) :]
        return self.codec.decode_rest(self._without_controls(new_ids))

    def _without_controls(self, ids: Sequence[int]) -> list[int]:
        controls = set(self.controls.ids.values())
        return [id for id in ids if id not in controls]

    def _led(self, text: str) -> str:
        return f"{self.lead}{text}" if self.lead and text else text

    def _encode(self, encode: Callable[[Sequence[str]], list[list[int]]], texts: Sequence[str]) -> list[list[int]]:
        ids = encode(texts)
        for place, text in enumerate(texts if self.leaky else []):
            spelled = self.controls.spelled_in(text)
            if any(self.controls.ids[each] in ids[place] for each in spelled):
                first, *rest = self.controls.broken(text, spelled)
                ids[place] = sum(self.codec.resume(rest), encode([first])[0])
        return ids

    def _lengths(
        self,
        encode: Callable[[Sequence[str]], list[list[int]]],
        measure: Callable[[Sequence[str]], list[int]],
        texts: Sequence[str],
    ) -> list[int]:
        return [len(ids) for ids in self._encode(encode, texts)] if self.leaky else measure(texts)

    def _strip(self, text: str, parts: Sequence[Any], number: int) -> str:
        """Some control tokens swallow the white space beside them."""
        if number and parts[number - 1] in self.controls.strip_right:
            text = text.lstrip()
        if number + 1 < len(parts) and parts[number + 1] in self.controls.strip_left:
            text = text.rstrip()
        return text

    def _probe(self, text: str) -> list[list[int]]:
        return [*self.codec.begin([text, f"a {text}"]), *self.codec.resume([text, f"\n{text}\n"])]

    def _find_lead(self) -> str:
        """A blank to put before a text that begins with one, where the tokenizer would take it for its own.

        Metaspace adds its blank only where there is none, so that "a" and " a" get the same ids, read back as "a".
        """
        plain, led = self.codec.begin(list(_BEGINNINGS)), self.codec.begin([f" {text}" for text in _BEGINNINGS])
        if plain[:2] != led[:2]:
            return ""
        written = [self.codec.decode(ids) == text for ids, text in zip(led, _BEGINNINGS, strict=True)]
        return " " if all(written) else ""

    def _read_back(self, text: str) -> str:
        return self.codec.decode(self.begin([text])[0])

    def _seam_is_exact(self) -> bool:
        for prompt in _PROMPTS:
            before = self.begin([prompt])[0]
            whole = self.begin([prompt + output for output in _OUTPUTS])
            for ids, rest in zip(whole, self.resume(_OUTPUTS), strict=True):
                if self.codec.decode(before + rest) != self.codec.decode(ids):
                    return False
        return True

    def _search(self, prompt: str, prompt_ids: list[int], output: str, resumed: list[int]) -> list[int]:
        """The first way of writing the output behind the prompt that reads like the whole text."""
        whole = self.begin([prompt + output])[0]
        wanted = self.codec.decode(whole)
        ways = [resumed]
        if whole[: len(prompt_ids)] == prompt_ids:
            ways.append(whole[len(prompt_ids) :])
        ways += [self.begin([output])[0], self.resume([output.lstrip()])[0]]
        for anchor in _ANCHORS:
            alone, both = self.begin([anchor, anchor + output])
            if both[: len(alone)] == alone:
                ways.append(both[len(alone) :])
        return next((way for way in ways if self.codec.decode(prompt_ids + way) == wanted), resumed)


class _Controls:
    """The control tokens of a tokenizer (its special tokens), and where a text spells one."""

    def __init__(self, tokenizer: Any) -> None:
        added = {id: token for id, token in getattr(tokenizer, "added_tokens_decoder", {}).items() if token.special}
        # Some converted tokenizers list SentencePiece's bytes as special tokens; they are text.
        added = {id: token for id, token in added.items() if token.content and not _BYTE.fullmatch(token.content)}
        self.ids: dict[str, int] = {token.content: id for id, token in added.items()}
        self.spelling = {id: content for content, id in self.ids.items()}
        self.strip_left = {id for id, token in added.items() if token.lstrip}
        self.strip_right = {id for id, token in added.items() if token.rstrip}
        by_length = sorted(self.ids, key=lambda content: (-len(content), content))
        self._pattern = re.compile("|".join(map(re.escape, by_length)) or r"(?!)")
        # Two characters are looked for first: some tokenizers have hundreds of control tokens.
        self._by_head: dict[str, list[str]] = {}
        for content in by_length:
            self._by_head.setdefault(content[:2], []).append(content)

    def spelled_in(self, text: str) -> list[str]:
        """The control tokens whose spelling stands in `text`."""
        heads = [contents for head, contents in self._by_head.items() if head in text]
        return [content for contents in heads for content in contents if content in text]

    def broken(self, text: str, spelled: Sequence[str]) -> list[str]:
        """`text` in pieces of which none spells a control token: cut behind the first character of each spelling."""
        cuts = sorted({match.start() + 1 for each in spelled for match in re.finditer(re.escape(each), text)})
        return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    def parts(self, before: str, after: str) -> tuple[list[int | tuple[str, str]], int]:
        """A prompt cut at the control tokens its template spells, and the place of the part that holds the instruction.

        A part is a control token's id or a pair of texts; the instruction comes between those of its pair.
        """
        head, tail = self.cut(before), self.cut(after)
        opening = head.pop() if head and isinstance(head[-1], str) else ""
        closing = tail.pop(0) if tail and isinstance(tail[0], str) else ""
        parts = [part if isinstance(part, int) else (part, "") for part in head]
        parts.append((str(opening), str(closing)))
        parts += [part if isinstance(part, int) else (part, "") for part in tail]
        return parts, len(head)

    def cut(self, text: str) -> list[int | str]:
        """A template's text cut at the control tokens it spells: ids, and the texts between them."""
        pieces: list[int | str] = []
        done = 0
        for match in self._pattern.finditer(text):
            pieces += [text[done : match.start()]] if match.start() > done else []
            pieces.append(self.ids[match.group()])
            done = match.end()
        return pieces + ([text[done:]] if done < len(text) else [])


_RULES: WeakKeyDictionary[Any, TextRule] = WeakKeyDictionary()


def text_rule(tokenizer: Any) -> TextRule:
    """The `TextRule` of a tokenizer, built at the first call."""
    if tokenizer not in _RULES:
        _RULES[tokenizer] = TextRule(tokenizer)
    return _RULES[tokenizer]
