"""YAML files in which a setting stands twice are refused, with its line, where the library keeps the last."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.artifact.yaml_text import parse_yaml
from curate.errors import UserError
from evaluate_suite.study.plan_file import read_study_file
from finetune.config import read_yaml


def test_a_setting_that_stands_twice_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("seed: 1\nlearning_rate: 1.0e-4\nseed: 2\n")
    with pytest.raises(UserError, match=r'c.yaml:3: not YAML .*"seed" stands twice'):
        read_yaml(tmp_path / "c.yaml")


def test_a_setting_that_stands_twice_in_a_study_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("strategies: [random, first]\ntraining: {seed: 1, seed: 2}\n")
    with pytest.raises(UserError, match='"seed" stands twice'):
        read_study_file(tmp_path / "study.yaml")


def test_a_study_in_another_encoding_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes(b"strategies: [random]  # caf\xe9\n")
    with pytest.raises(UserError, match="is not UTF-8"):
        read_study_file(tmp_path / "study.yaml")


def test_what_stands_once_is_read_as_ever() -> None:
    assert parse_yaml("base: &b {x: 1}\nmore:\n  <<: *b\n  x: 2\n") == {"base": {"x": 1}, "more": {"x": 2}}
