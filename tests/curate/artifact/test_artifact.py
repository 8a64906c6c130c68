"""Artifacts on disk: atomic files, digests, manifests."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from curate import artifact
from curate.artifact import (
    append_jsonl,
    cache_dir,
    digest_json,
    digest_text,
    find_artifact,
    finished,
    is_made,
    read_jsonl,
    read_manifest,
    record_file,
    write_jsonl,
    write_manifest,
    write_text,
)
from curate.errors import UserError
from tests.manifests import edit_manifest

KIND = "evaluate_suite.report"


def make(folder: Path, kind: str = KIND, digest: str = "d") -> None:
    write_text(folder / "a.txt", "hello\n")
    write_manifest(
        folder, kind=kind, command=["evalsuite"], seed=3, inputs=[],
        config={"report_digest": digest, "runs": ["a"], "headline": "h", "second": "s"},
        outputs=[record_file(folder, "a.txt", 1)], counts={"pool": 1}, seconds={"load": 0.12345},
    )  # fmt: skip


def test_a_folder_holds_the_artifact_asked_for_is_free_or_an_error(tmp_path: Path) -> None:
    def made(name: str, digest: str = "d") -> bool:
        return is_made(tmp_path / name, KIND, "report_digest", digest, {"a.txt"})

    assert not made("absent")
    make(tmp_path / "done", digest="d")
    assert made("done")
    with pytest.raises(UserError, match=r"done holds another report. Name another --out"):
        made("done", "e")
    for name in ("a.txt", ".index.html.x1.part"):  # what a run that was broken off leaves
        write_text(tmp_path / "begun" / name, "x")
    assert not made("begun")
    write_text(tmp_path / "begun" / "thesis.doc", "x")
    with pytest.raises(UserError, match=r"begun is not empty \(it holds thesis.doc\)"):
        made("begun")
    with pytest.raises(UserError, match=r"thesis.doc is a file. Name a folder."):
        made("begun/thesis.doc")


def test_digests_are_sha256_of_utf8_and_keep_lone_surrogates_apart() -> None:
    assert digest_text("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_text("\ud800") != digest_text("\ud801")
    assert digest_json({"b": 1, "a": [2]}) == digest_json({"a": [2], "b": 1})


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    write_jsonl(target, [{"a": 1}])
    with pytest.raises(ZeroDivisionError):
        write_jsonl(target, ({"a": 1 // (2 - i)} for i in range(5)))
    assert target.read_text() == '{"a": 1}\n'
    assert [p.name for p in tmp_path.iterdir() if p.name != "home"] == ["rows.jsonl"]


def test_a_full_disk_is_one_clear_line_and_nothing_half_written(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match=r"Could not write .*big.txt: File too large"):
            write_text(tmp_path / "big.txt", "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert not (tmp_path / "big.txt").exists()


def test_jsonl_survives_lone_surrogates_and_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    append_jsonl(path, {"text": "ok \ud800 é"})
    with path.open("ab") as file:
        file.write(b'{"text": "cut')
    assert read_jsonl(path, allow_torn_end=True) == [{"text": "ok \ud800 é"}]
    with pytest.raises(UserError, match=r"g.jsonl:2: not a line of JSON"):
        read_jsonl(path)


def test_a_manifest_reads_back_as_written(tmp_path: Path) -> None:
    make(tmp_path / "s")
    manifest = read_manifest(tmp_path / "s", KIND)
    assert manifest.config == {"report_digest": "d", "runs": ["a"], "headline": "h", "second": "s"}
    assert manifest.seconds == {"load": 0.123}
    assert manifest.outputs[0].sha256 == "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        (f"{KIND}/99", f"has schema {KIND}/99; this version reads up to {KIND}/3. Upgrade"),
        ("finetune.run/1", f"is a finetune.run artifact, not a {KIND}"),
    ],
)
def test_a_newer_or_foreign_artifact_is_refused_with_a_sentence(tmp_path: Path, schema: str, sentence: str) -> None:
    make(tmp_path / "s")
    edit_manifest(tmp_path / "s", lambda manifest: manifest.update(schema=schema))
    with pytest.raises(UserError, match=sentence):
        read_manifest(tmp_path / "s", KIND)


def test_a_folder_without_a_manifest_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with pytest.raises(UserError, match="is not finished: it has no manifest.json"):
        read_manifest(tmp_path / "s", KIND)
    assert finished(tmp_path, KIND) == []


def test_an_older_manifest_is_lifted_one_number_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "s")
    edit_manifest(tmp_path / "s", lambda manifest: manifest.update(schema=f"{KIND}/1"))
    steps = {1: lambda m: {**m, "seed": m["seed"] + 1}, 2: lambda m: {**m, "seed": m["seed"] * 10}}
    monkeypatch.setitem(artifact.SCHEMAS, KIND, (3, steps))
    lifted = read_manifest(tmp_path / "s", KIND)
    assert (lifted.schema_, lifted.seed) == (f"{KIND}/3", 40)


def test_newest_is_by_created_at_and_names_are_found(tmp_path: Path) -> None:
    for name in ("b", "a"):
        make(tmp_path / name)
    edit_manifest(tmp_path / "a", lambda manifest: manifest.update(created_at="2020-01-01T00:00:00+00:00"))
    assert [p.name for p in finished(tmp_path, KIND)] == ["a", "b"]
    assert find_artifact(None, tmp_path, KIND).name == "b"
    assert find_artifact("a", tmp_path, KIND) == tmp_path / "a"
    with pytest.raises(UserError, match="no evaluate_suite.report artifact c. Finished ones in .*: a, b"):
        find_artifact("c", tmp_path, KIND)


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROWPICK_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(UserError, match="Could not write .*file/home/cache/token_counts: Not a directory"):
        cache_dir("token_counts")
