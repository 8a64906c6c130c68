"""Keys and tokens in rows, by the detectors of detect-secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector

from curate.pool.rows import Finding, Row

REASON = "secret"
# Addresses and passwords in URLs stand in code as examples, more often than not.
_LEFT_OUT = {"Public IP (ipv4)", "Basic Auth Credentials"}
# What detect-secrets has no detector for, and rows for training code models have.
_MORE = {
    "Hugging Face Token": re.compile(r"\bhf_[A-Za-z]{34}\b"),
    "Google API Key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b"),
    "Anthropic API Key": re.compile(r"\bsk-ant-[a-z0-9]+-[A-Za-z0-9_-]{40,}"),
    "OpenAI Project Key": re.compile(r"\bsk-proj-[A-Za-z0-9_-]{40,}"),
}
# A line without a long run of such signs holds no key; most rows have none, and the detectors are slow.
_LONG_RUN = re.compile(r"[A-Za-z0-9_+/=.-]{20,}|^-----BEGIN ", re.MULTILINE)
_KEY_BODY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY[A-Z ]*-----(?:\s|\\n|[A-Za-z0-9+/=:,-])*?(?:[A-Za-z0-9+/=]{40,})"
)
_PRIVATE_KEY = "Private Key"
_PLACEHOLDER = re.compile(
    r"example|your|x{4}|\*{3}|\.{3}|12345678|abcdef(?:gh|12)|dummy|fake|placeholder", re.IGNORECASE
)
_FEWEST_SIGNS = 8  # different signs in a key; placeholders repeat a few
_MAX_CHARS = 200_000


def find(rows: Sequence[Row], held_out: Sequence[Row]) -> list[Finding]:
    """Rows in whose instruction or output a key or token stands; the detail names the kind, never the key.

    Precision before recall: placeholders (`AKIA...EXAMPLE`, `sk-xxxx`) and the frame of a private key without its body
    are none, and names such as `password` are not looked at. Only the first 200,000 characters of each text are.
    """
    found: list[Finding] = []
    for row in rows:
        kind = next((kind for text in (row.instruction, row.output) for kind in secrets_in(text)), None)
        if kind is not None:
            found.append((row.row_index, REASON, kind))
    return found


def secrets_in(text: str) -> Iterator[str]:
    """The kind of every key in `text`."""
    text = text[:_MAX_CHARS]
    if not _LONG_RUN.search(text):
        return
    for line in filter(_LONG_RUN.search, text.splitlines()):
        for kind, detector in _detectors().items():
            if any(detector.analyze_string(line)) and _is_key(detector.denylist, line):
                yield kind
        yield from (kind for kind, key in _MORE.items() if _is_key([key], line))
    if _KEY_BODY.search(text):
        yield _PRIVATE_KEY


@lru_cache(maxsize=1)
def _detectors() -> dict[str, RegexBasedDetector]:
    """The detectors that know a key by its form; those that go by entropy or by names judge too much code."""
    return {
        kind: detector()
        for kind, detector in get_mapping_from_secret_type_to_class().items()
        if issubclass(detector, RegexBasedDetector) and kind not in {*_LEFT_OUT, _PRIVATE_KEY}
    }


def _is_key(patterns: Iterable[re.Pattern[str]], line: str) -> bool:
    """Whether a match is no placeholder: those say so, or repeat a few signs."""
    keys = (match[0] for pattern in patterns for match in pattern.finditer(line))
    return any(len(set(key)) >= _FEWEST_SIGNS and not _PLACEHOLDER.search(key) for key in keys)
