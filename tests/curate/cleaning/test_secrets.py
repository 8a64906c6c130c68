"""Keys of many kinds are found wherever they stand in a row; placeholders and clean rows stay."""

from __future__ import annotations

import base64
import json
import random
import string
from pathlib import Path

import pytest

from curate.cleaning.table import CHECKS, DEFAULT_CHECKS
from curate.pool.rows import build_row
from curate.sources import load_rows

LETTERS, HEX = string.ascii_letters + string.digits, "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits


def draw(rng: random.Random, n: int, signs: str = LETTERS) -> str:
    return "".join(rng.choices(signs, k=n))


def part(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def planted(kind: str, rng: random.Random) -> str:
    """A made-up key of a kind, put together here so that no file of ours holds one."""
    return {
        "AWS Access Key": "AKIA" + draw(rng, 16, UPPER),
        "Azure Storage Account access key": "AccountKey=" + draw(rng, 86) + "==",
        "Discord Bot Token": f"M{draw(rng, 23)}.{draw(rng, 6)}.{draw(rng, 27)}",
        "GitHub Token": "ghp_" + draw(rng, 36),
        "GitLab Token": "glpat-" + draw(rng, 20),
        "JSON Web Token": f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': draw(rng, 12)})}.{draw(rng, 43)}",
        "Mailchimp Access Key": draw(rng, 32, HEX) + "-us12",
        "NPM tokens": "//registry.npmjs.org/:_authToken=npm_" + draw(rng, 36),
        "OpenAI Token": f"sk-{draw(rng, 20)}T3BlbkFJ{draw(rng, 20)}",
        "Private Key": "-----BEGIN RSA PRIVATE KEY-----\n" + draw(rng, 64) + "\n" + draw(rng, 64),
        "PyPI Token": "pypi-AgEIcHlwaS5vcmc" + draw(rng, 90),
        "SendGrid API Key": f"SG.{draw(rng, 22)}.{draw(rng, 43)}",
        "Slack Token": f"xoxb-{draw(rng, 12, string.digits)}-{draw(rng, 24)}",
        "Square OAuth Secret": "sq0csp-" + draw(rng, 43),
        "Stripe Access Key": "sk_live_" + draw(rng, 24),
        "Telegram Bot Token": f"{draw(rng, 9, string.digits)}:AA{draw(rng, 33)}",
        "Twilio API Key": "SK" + draw(rng, 32, HEX),
        "Hugging Face Token": "hf_" + draw(rng, 34, string.ascii_letters),
        "Google API Key": "AIza" + draw(rng, 35),
    }[kind]


KINDS = (
    "AWS Access Key", "Azure Storage Account access key", "Discord Bot Token", "GitHub Token", "GitLab Token",
    "JSON Web Token", "Mailchimp Access Key", "NPM tokens", "OpenAI Token", "Private Key", "PyPI Token",
    "SendGrid API Key", "Slack Token", "Square OAuth Secret", "Stripe Access Key", "Telegram Bot Token",
    "Twilio API Key", "Hugging Face Token", "Google API Key",
)  # fmt: skip


def kinds(*pairs: tuple[str, str]) -> dict[int, str | None]:
    rows = [build_row(number, *pair, "test") for number, pair in enumerate(pairs)]
    return {index: detail for index, reason, detail in CHECKS["secrets"].load()(rows, []) if reason == "secret"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_found_in_code_in_prose_and_in_a_question(kind: str) -> None:
    rng = random.Random(kind)
    for _ in range(20):
        key = planted(kind, rng)
        found = kinds(
            ("Log in.", f'```python\nclient = Client(\n    key="{key}",\n)\n```'),
            ("Log in.", f"Use this one: {key}"),
            (f"Why does this fail?\nTOKEN={key}", "It has expired."),
        )
        assert len(found) == 3
        assert all(key not in str(detail) for detail in found.values())


@pytest.mark.parametrize(
    "text",
    [
        "aws_access_key_id = 'AKIAIOSFODNN7EXAMPLE'",
        "openai.api_key = 'sk-xxxxxxxxxxxxxxxxxxxxT3BlbkFJxxxxxxxxxxxxxxxxxxxx'",
        "token = 'ghp_" + "a" * 36 + "'",
        "stripe.api_key = 'sk_test_your_key_here_please_12345678'",
        "if '-----BEGIN PRIVATE KEY-----' in text:\n    raise ValueError('a key')",
        "password = 'correct horse battery staple'",
        "digest = 'd41d8cd98f00b204e9800998ecf8427e'",
        "requests.get('https://user:password@host.org/' + 'a' * 40, hosts=['8.8.8.8'])",
    ],
)
def test_placeholders_digests_and_frames_are_no_keys(text: str) -> None:
    assert kinds((text, text)) == {}


def test_no_clean_row_holds_a_key(shared_data: Path) -> None:
    rows = [
        row for name in ("codegen-4.5k", "codealpaca-2k") for row in load_rows(str(shared_data / f"{name}.jsonl")).rows
    ]
    assert len(rows) == 6552
    assert CHECKS["secrets"].load()(rows, []) == []


def test_the_check_is_asked_for_by_name() -> None:
    assert "secrets" in CHECKS and "secrets" not in DEFAULT_CHECKS
