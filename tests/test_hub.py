"""Everything that is fetched from a hub, against a local one: what arrives, what is recorded, what goes wrong.

The libraries read HF_ENDPOINT when they are imported, so the cases run in subprocesses, many in each.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from curate.cleaning.table import CHECKS
from curate.pool.rows import build_row
from tests.hub_server import (
    BREAKS_OFF,
    FORBIDDEN,
    GATED,
    OUT_OF_ORDER,
    SILENT,
    UNAUTHORISED,
    Hub,
    running_hub,
)

ROOT = Path(__file__).parents[1]
RECORDS = [{"instruction": f"Say {i}.", "output": f"print({i})"} for i in range(300)]
CHAT = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}]
CODER = [
    {
        "id": str(i),
        "question": f"Say {i}.",
        "r1_generation": f"print({i})",
        "license": "cc-by-4.0",
        "judgement": "right",
    }
    for i in range(5)
]
# Two rows each in the columns of sets that people train code models on, written for these tests.
CODE = "def add(a, b):\n    return a + b"
FOUND: dict[str, list[dict[str, Any]]] = {
    "magicoder": [
        {"lang": "python", "raw_index": i, "index": i, "seed": "def", "openai_fingerprint": "fp",
         "problem": f"Add {i}.", "solution": CODE}
        for i in range(2)
    ],
    "codefeedback": [
        {"query": f"Add {i}.", "answer": CODE, "resource": "evolinstruct", "lang": "python"} for i in range(2)
    ],
    "evol": [{"instruction": f"Add {i}.", "response": CODE} for i in range(2)],
    "opc": [
        {"seq_id": i, "instruction": f"Add {i}.", "output": CODE, "code": CODE, "entry_point": "add",
         "testcase": ["assert add(1, 2) == 3"]}
        for i in range(2)
    ],
    "talks": [
        {"id": i, "messages": [
            {"role": "user", "content": f"Add {i}."}, {"role": "assistant", "content": CODE},
            {"role": "user", "content": "Shorter?"}, {"role": "assistant", "content": "lambda a, b: a + b"},
        ]}
        for i in range(2)
    ],
}  # fmt: skip
# OpenCodeReasoning-2 leaves its questions to the sets they are of, and says "-".
REASONING = [
    {"id": str(i), "question_id": f"q{i}", "question": "-" if i == 0 else f"Add {i}.", "r1_generation": CODE,
     "qwq_critique": "", "solution": CODE, "judgement": "right", "pass_rate": "1.0", "source": "codeforces",
     "license": "cc-by-4.0", "dataset": "taco", "split": "train", "difficulty": "3", "index": str(i)}
    for i in range(2)
]  # fmt: skip
OPC = (
    b"---\nconfigs:\n- config_name: educational_instruct\n  data_files: e.jsonl\n- config_name: evol_instruct\n"
    b"  data_files: v.jsonl\n---\n"
)
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
CONFIGS = b"---\nconfigs:\n- config_name: a\n  data_files: a.jsonl\n- config_name: b\n  data_files: b.jsonl\n---\n"
LLAMA = "meta-llama/Llama-2-7b-hf"
# Answers as JSON, one line a case. Retries are kept, the waiting between them is not.
CHILD = """
import contextlib, io, json, os, sys, time
time.sleep = lambda seconds: None
from curate.errors import UserError
from curate.errors.hub import explain_hub_error, require_on_hub
from curate.pool.read_options import ReadOptions
from curate.sources import load_rows
from curate.tokens.tokenizers import load_tokenizer

def dataset(name):
    name, *words = name.split(" --")
    options = dict(word.split(" ") for word in words)
    if "first" in options:
        options["first"] = int(options["first"])
    pool = load_rows(name, options=ReadOptions(**options))
    first = pool.rows[0]
    return {"excluded": sorted(reason for reason, _ in pool.excluded.values()), "extra": dict(first.extra),
            "rows": len(pool.rows), "first": [first.instruction, first.output, first.source], "digest": pool.digest,
            "revision": pool.revision, "inputs": [r.file for r in pool.inputs], "notes": pool.notes}

def tokenizer(name):
    return {"ids": load_tokenizer(name)("print hello")["input_ids"]}

def require(name):
    return {"done": require_on_hub(name, "model")}

def select(name):
    from curate.cli import main
    from curate.selection.record import read_selection
    out = os.path.join(os.environ["ROWPICK_HOME"], name.replace("/", "-"))
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
        code = main(["select", "--dataset", name, "--model", "o/tokenizer", "--encoder", "tfidf", "--k", "20",
                     "--holdout", "10", "--near-duplicate", "1", "--out", out])
    if code:
        return {"code": code, "lines": printed.getvalue().splitlines(), "left": os.path.exists(out)}
    selection = read_selection(out)
    return {"code": code, "revision": selection.manifest.config["revision"], "picked": len(selection.selected),
            "inputs": [(r.file, r.rows) for r in selection.manifest.inputs]}

def push(name):
    from curate.cli import main
    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        made = os.path.join(os.environ["ROWPICK_HOME"], "o-lines")
        code = main(["push", name.strip(), "--selection", made, "--json"])
    return {"code": code, "said": said.getvalue(), **(json.loads(printed.getvalue()) if code == 0 else {})}

def splits(name):
    import datasets
    loaded = datasets.load_dataset(name, token=True)
    return {split: rows.num_rows for split, rows in loaded.items()}

for case in json.loads(sys.argv[1]):
    kind, _, name = case.partition(" ")
    kind, _, token = kind.partition("+")
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = "hf_of_somebody"
    try:
        answer = {"dataset": dataset, "tokenizer": tokenizer, "require": require, "select": select,
                  "push": push, "splits": splits}[kind](name)
    except UserError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    print(json.dumps(answer), flush=True)
"""


def parquet(records: list[dict[str, Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), file)
    return file.getvalue()


def tokenizer_files() -> dict[str, bytes]:
    """A word-level tokenizer of five words, as a model repository holds one."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<unk>": 0, "<s>": 1, "</s>": 2, "print": 3, "hello": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    return {
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": json.dumps(config).encode(),
        "config.json": json.dumps({"model_type": "llama"}).encode(),
    }


def as_lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def publish(hub: Hub) -> dict[str, str]:
    """Fill the hub; the commits by repository come back."""
    sets: dict[str, dict[str, bytes]] = {
        "lines": {"rows.jsonl": LINES, "README.md": b"# Rows\n"},
        "json": {"data/train.json": json.dumps(RECORDS).encode()},
        "parquet": {"data/train-00000-of-00001.parquet": parquet(RECORDS)},
        "chat": {"train.jsonl": (json.dumps(CHAT[0]) + "\n").encode()},
        "two": {"train.jsonl": LINES, "test.jsonl": LINES},
        "splits": {"validation.jsonl": LINES, "test.jsonl": LINES},
        "configs": {"a.jsonl": LINES, "b.jsonl": LINES, "README.md": CONFIGS},
        "shards": {f"data/train-0000{n}-of-00003.parquet": parquet(RECORDS[n * 100 :][:100]) for n in range(3)},
        "coder": {
            "data/python-00000-of-00001.parquet": parquet(CODER),
            "data/cpp-00000-of-00001.parquet": parquet(CODER),
        },
        "reasoning": {
            f"data/{split}-00000-of-00001.parquet": parquet(REASONING[:n]) for split, n in (("python", 2), ("cpp", 1))
        },
        "opc": {"README.md": OPC, "e.jsonl": as_lines(FOUND["opc"]), "v.jsonl": as_lines(FOUND["opc"][:1])},
        **{name: {"train.jsonl": as_lines(rows)} for name, rows in FOUND.items() if name != "opc"},
        "script": {"script.py": b"raise SystemExit('never run')"},
        "empty": {"picture.bin": b"\x00"},
    }
    commits = {name: hub.put("datasets", f"o/{name}", files) for name, files in sets.items()}
    for mood in MOODS:
        hub.put("datasets", f"o/{mood}", {"rows.jsonl": LINES}, mood)
    hub.put("models", "o/tokenizer", tokenizer_files())
    hub.put("models", LLAMA, tokenizer_files(), GATED)
    for mood in (BREAKS_OFF, SILENT, OUT_OF_ORDER):
        hub.put("models", f"o/{mood}", tokenizer_files(), mood)
    return commits


SETS = ("lines", "json", "parquet", "chat", "two", "splits", "configs", "script", "empty")
MOODS = (GATED, FORBIDDEN, UNAUTHORISED, BREAKS_OFF, SILENT, OUT_OF_ORDER)
SUBSETS = (
    "o/configs --subset b", "o/configs --subset c", "o/splits --split test", "o/splits --split tset",
    "o/lines --first 7", "o/shards --first 7", "o/shards --split train --first 500", "o/coder --split python --first 2",
    "o/configs --subset a --split train --first 3", "o/reasoning", "o/reasoning --split python",
    "o/reasoning --split cpp", "o/opc", "o/opc --subset evol_instruct", "o/magicoder", "o/codefeedback", "o/evol",
    "o/talks", "o/talks --turns all",
)  # fmt: skip
CASES = (
    *(f"dataset o/{name}" for name in SETS + MOODS),
    *(f"dataset {case}" for case in SUBSETS),
    *("dataset o/lines@main", "dataset o/lines@v9", "dataset o/none", "dataset+token o/gated", "dataset not a name"),
    *("tokenizer o/tokenizer", "tokenizer o/none"),
    *(f"tokenizer o/{mood}" for mood in (BREAKS_OFF, SILENT, OUT_OF_ORDER)),
    *(f"tokenizer {LLAMA}", f"tokenizer+token {LLAMA}", "require o/tokenizer", "require o/none"),
    *("select o/lines", "select o/gated"),
    # The space makes a second case of the same: pushing again.
    *("push me/rows", "push+token me/rows", "push+token me/rows ", "push+token you/rows", "push+token not a name"),
    "splits+token me/rows",
    *("dataset hf://datasets/o/shards", "dataset hf://datasets/o/two/test.jsonl", "dataset hf://datasets/o/none"),
    *(f"dataset hf://datasets/o/{FORBIDDEN}", "dataset+token hf://datasets/o/gated"),
)


@dataclass
class Session:
    answers: dict[str, dict[str, Any]]
    commits: dict[str, str]
    url: str
    home: Path
    requests: list[str]
    visibility: dict[str, str]


def ask(cases: tuple[str, ...], url: str, home: Path, **settings: str) -> dict[str, dict[str, Any]]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS"))
    }
    own = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    own |= {"PYTHONPATH": str(ROOT), "ROWPICK_HOME": str(home / "rowpick")}
    result = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(cases)],
        env={**kept, **own, **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return dict(zip(cases, map(json.loads, result.stdout.splitlines()), strict=True))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("hub")
    with running_hub() as hub:
        commits = publish(hub)
        yield Session(ask(CASES, hub.url, home), commits, hub.url, home, hub.requests, hub.visibility)


def refusal(session: Session, case: str) -> str:
    answer = session.answers[case]
    assert answer["exit_code"] == 1
    assert "\n" not in answer["error"]
    return str(answer["error"]).replace(session.url, "HUB")


@pytest.mark.parametrize("name", ["lines", "json", "parquet"])
def test_a_dataset_arrives_whole_and_its_commit_is_recorded(session: Session, name: str) -> None:
    commit = session.commits[name]
    assert session.answers[f"dataset o/{name}"] == {
        "rows": 300,
        "first": ["Say 0.", "print(0)", f"o/{name}"],
        "digest": session.answers["dataset o/lines"]["digest"],
        "revision": commit,
        "inputs": [f"o/{name}@{commit}"],
        "notes": [],
        "excluded": [],
        "extra": {},
    }


def test_a_branch_is_resolved_to_its_commit(session: Session) -> None:
    assert session.answers["dataset o/lines@main"] == session.answers["dataset o/lines"]


def test_messages_are_recognised_in_a_dataset_of_the_hub(session: Session) -> None:
    assert session.answers["dataset o/chat"]["first"] == ["Hi", "Hello", "o/chat"]


def test_the_train_split_is_read_and_the_others_are_named(session: Session) -> None:
    assert session.answers["dataset o/two"]["notes"] == ["o/two: the split train was read; not read: test."]
    assert refusal(session, "dataset o/splits").startswith("The dataset o/splits has no split train but ")


def test_a_subset_and_a_split_can_be_named_and_are_listed_where_they_must_be(session: Session) -> None:
    assert session.answers["dataset o/configs --subset b"]["rows"] == 300
    assert refusal(session, "dataset o/configs") == (
        "The dataset o/configs has several subsets, and which one is not said. Name one: --subset a, --subset b"
    )
    assert refusal(session, "dataset o/configs --subset c").startswith('The dataset o/configs has no subset "c". ')
    assert session.answers["dataset o/splits --split test"]["rows"] == 300
    assert "Name one: --split " in refusal(session, "dataset o/splits")
    assert 'no split "tset". Did you mean "test"?' in refusal(session, "dataset o/splits --split tset")


def test_the_first_rows_are_streamed_file_by_file(session: Session) -> None:
    for name, n in (("lines", 7), ("shards", 7), ("configs --subset a --split train", 3)):
        answer = session.answers[f"dataset o/{name} --first {n}"]
        assert (answer["rows"], answer["first"][:2]) == (n, ["Say 0.", "print(0)"])
        assert answer["notes"] == [f"Only the first {n} rows of o/{name.split()[0]} were read."]
    assert session.answers["dataset o/shards --split train --first 500"]["rows"] == 300
    assert session.answers["dataset o/shards --split train --first 500"]["notes"] == []


def test_files_of_the_hub_can_be_read_by_their_addresses(session: Session) -> None:
    whole = session.answers["dataset o/lines"]["digest"]
    answer = session.answers["dataset hf://datasets/o/shards"]
    assert (answer["rows"], answer["digest"]) == (300, whole)
    assert answer["inputs"] == [f"data/train-0000{n}-of-00003.parquet" for n in range(3)]
    assert session.answers["dataset hf://datasets/o/two/test.jsonl"]["digest"] == whole
    for case in (f"dataset hf://datasets/o/{FORBIDDEN}", "dataset+token hf://datasets/o/gated"):
        address, said = case.partition(" ")[2], refusal(session, case)
        assert said.startswith(f"{address} may not be read: credentials are missing or refused (")
        assert "Run `hf auth login`, or set HF_TOKEN" in said
    assert refusal(session, "dataset hf://datasets/o/none") == (
        "hf://datasets/o/none does not exist. Check the address; if it is private, run `hf auth login`."
    )


def test_questions_and_answers_of_opencodereasoning_are_recognised(session: Session) -> None:
    answer = session.answers["dataset o/coder --split python --first 2"]
    assert (answer["rows"], answer["first"]) == (2, ["Say 0.", "print(0)", "o/coder"])


@pytest.mark.parametrize(
    ("case", "rows", "extra"),
    [
        ("magicoder", 2, {"language": "python"}),
        ("codefeedback", 2, {"language": "python"}),
        ("evol", 2, {}),
        ("opc --subset evol_instruct", 1, {}),
    ],
)
def test_the_sets_people_train_code_models_on_are_recognised(
    case: str, rows: int, extra: dict[str, str], session: Session
) -> None:
    answer = session.answers[f"dataset o/{case}"]
    assert (answer["rows"], answer["first"][:2], answer["extra"]) == (rows, ["Add 0.", CODE], extra)


def test_their_subsets_and_splits_are_listed_with_the_option_to_paste(session: Session) -> None:
    assert refusal(session, "dataset o/opc") == (
        "The dataset o/opc has several subsets, and which one is not said. "
        "Name one: --subset educational_instruct, --subset evol_instruct"
    )
    said = refusal(session, "dataset o/reasoning")
    assert said.startswith("The dataset o/reasoning has no split train but ")
    assert sorted(said.partition("Name one: ")[2].split(", ")) == ["--split cpp", "--split python"]


def test_opencodereasoning_2_keeps_source_and_licence_and_a_dash_is_no_question(session: Session) -> None:
    python = session.answers["dataset o/reasoning --split python"]
    assert (python["rows"], python["first"], python["notes"]) == (2, ["-", CODE, "codeforces"], [])
    assert python["extra"] == {"license": "cc-by-4.0", "id": "0"}
    assert session.answers["dataset o/reasoning --split cpp"]["rows"] == 1
    rows = [build_row(0, *python["first"]), build_row(1, "Add 1.", CODE, "codeforces")]
    assert CHECKS["empty"].load()(rows, []) == [(0, "empty_instruction", None)]


def test_conversations_of_a_hub_dataset_are_read_by_turns(session: Session) -> None:
    assert session.answers["dataset o/talks"]["excluded"] == ["not_single_turn", "not_single_turn"]
    answer = session.answers["dataset o/talks --turns all"]
    assert (answer["excluded"], answer["first"][:2]) == ([], [f"Add 0.\n\n{CODE}\n\nShorter?", "lambda a, b: a + b"])
    assert json.loads(answer["extra"]["messages"]) == FOUND["talks"][0]["messages"]


MEANWHILE = " Meanwhile: --dataset stdlib needs no hub, and a local JSON, JSONL, CSV or Parquet file works too."


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "none",
            "The hub shows no dataset o/none, and there is no such path here. "
            "Check the name at HUB/datasets/o/none; if it is private, run `hf auth login`.",
        ),
        (
            "lines@v9",
            'The dataset o/lines has no revision "v9". '
            "Its branches, tags and commits are at HUB/datasets/o/lines/commits/main.",
        ),
        (
            "gated",
            "The dataset o/gated is gated: the hub gives it only to people who were granted access. "
            "Ask for access at HUB/datasets/o/gated, then run `hf auth login`.",
        ),
        (
            "403",
            "The hub does not let you read the dataset o/403 (it is private, or gated). "
            "Ask for access at HUB/datasets/o/403, then run `hf auth login`.",
        ),
        ("script", "The dataset o/script needs its own code run, which is never done here. Use another."),
    ],
)
def test_a_refusal_says_what_to_do_and_what_works_meanwhile(session: Session, name: str, says: str) -> None:
    assert refusal(session, f"dataset o/{name}") == says + MEANWHILE


def test_a_token_without_access_is_told_the_same_as_none(session: Session) -> None:
    assert refusal(session, "dataset+token o/gated") == refusal(session, "dataset o/gated")


def test_other_refusals_name_the_cause(session: Session) -> None:
    assert "run `hf auth login`" in refusal(session, "dataset o/401")
    assert refusal(session, "dataset not a name").startswith('"not a name" is neither a path here nor a hub id')
    assert refusal(session, "dataset o/empty").startswith("The dataset o/empty could not be loaded (")


@pytest.mark.parametrize(
    ("mood", "cause"),
    [
        (BREAKS_OFF, "peer closed connection without sending complete message body"),
        (SILENT, "Server disconnected without sending a response"),
        (OUT_OF_ORDER, "500 Internal Server Error"),
    ],
)
def test_a_server_that_goes_half_way_is_one_line_with_its_cause(session: Session, mood: str, cause: str) -> None:
    message = refusal(session, f"dataset o/{mood}")
    assert message.startswith(f"The hub could not be reached, or broke off, while the dataset o/{mood} was fetched (")
    assert cause in message
    assert message.endswith("run the command again: what has arrived is kept." + MEANWHILE)


def test_a_tokenizer_arrives_whole(session: Session) -> None:
    assert session.answers["tokenizer o/tokenizer"] == {"ids": [3, 4]}
    assert session.answers["require o/tokenizer"] == {"done": None}


def test_a_gated_tokenizer_says_how_to_get_access_and_what_works_meanwhile(session: Session) -> None:
    expected = (
        f"The tokenizer {LLAMA} is gated: the hub gives it only to people who were granted access. "
        f"Ask for access at HUB/{LLAMA}, then run `hf auth login`. "
        "Meanwhile: curate select --model smollm2-135m needs no hub; its --tokenizer PATH takes a local one."
    )
    assert refusal(session, f"tokenizer {LLAMA}") == expected
    assert refusal(session, f"tokenizer+token {LLAMA}") == expected


def test_an_unknown_tokenizer_and_one_that_breaks_off_are_told_apart(session: Session) -> None:
    assert refusal(session, "tokenizer o/none").startswith("The hub shows no tokenizer o/none, ")
    for mood in (BREAKS_OFF, SILENT, OUT_OF_ORDER):
        assert refusal(session, f"tokenizer o/{mood}").startswith("The hub could not be reached, or broke off, ")
    assert refusal(session, "require o/none").startswith("The hub shows no model o/none, ")


def test_a_selection_from_the_hub_records_the_commit_and_a_refused_one_leaves_nothing(session: Session) -> None:
    commit = session.commits["lines"]
    assert session.answers["select o/lines"] == {
        "code": 0,
        "revision": commit,
        "picked": 20,
        "inputs": [[f"o/lines@{commit}", 300]],
    }
    refused = session.answers["select o/gated"]
    assert (refused["code"], refused["left"], len(refused["lines"])) == (1, False, 1)
    assert refused["lines"][0].startswith("error: The dataset o/gated is gated: ")


def test_without_the_hub_nothing_is_invented_and_the_way_on_is_shown(session: Session, tmp_path: Path) -> None:
    cases = ("dataset o/lines", "require o/tokenizer")
    nobody = "http://127.0.0.1:9"
    answers = ask(cases, nobody, tmp_path)
    for case, kind in zip(cases, ("dataset o/lines", "model o/tokenizer"), strict=True):
        message = str(answers[case]["error"])
        assert message.startswith(f"The hub could not be reached, or broke off, while the {kind} was fetched (")
        assert "Connection refused" in message
        assert "needs no hub" in message


def test_in_offline_mode_the_copy_fetched_before_is_used_with_its_commit(session: Session) -> None:
    commit = session.commits["lines"]
    cases = (
        "dataset o/lines",
        f"dataset o/lines@{commit}",
        "dataset o/lines@main",
        "dataset o/none",
        "tokenizer o/none",
    )
    answers = ask((*cases, "tokenizer o/tokenizer"), session.url, session.home, HF_HUB_OFFLINE="1")
    online = session.answers["dataset o/lines"]
    notes = ["HF_HUB_OFFLINE is set: o/lines is the copy fetched before."]
    assert answers[cases[0]] == answers[cases[1]] == {**online, "notes": notes}
    assert f"on this machine is of {commit}, not main." in answers[cases[2]]["error"]
    for case in cases[3:]:
        assert "is not on this machine, and HF_HUB_OFFLINE keeps it from being fetched." in answers[case]["error"]
    assert answers["tokenizer o/tokenizer"] == {"ids": [3, 4]}


def test_a_selection_is_pushed_as_a_private_dataset_that_loads_with_its_splits(session: Session) -> None:
    answer = session.answers["push+token me/rows"]
    assert answer["code"] == 0
    assert answer["address"] == f"{session.url}/datasets/me/rows"
    assert answer["files"] == [
        "README.md", "decisions.parquet", "holdout.jsonl", "manifest.json", "report.html", "selected.jsonl",
    ]  # fmt: skip
    assert session.visibility == {"me/rows": "private"}
    assert session.answers["splits+token me/rows"] == {"train": 20, "test": 10}


def test_pushing_the_same_again_changes_nothing(session: Session) -> None:
    assert session.answers["push+token me/rows "]["commit"] == session.answers["push+token me/rows"]["commit"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (
            "push me/rows",
            "error: There is no token for the hub on this machine. Make a token that may write at "
            "HUB/settings/tokens, then run `hf auth login`.\n",
        ),
        (
            "push+token you/rows",
            "error: The token on this machine may not write to you/rows (403). Make a token that may write at "
            "HUB/settings/tokens, then run `hf auth login`.\n",
        ),
        ("push+token not a name", 'error: "not a name" is no name of a repository. Write OWNER/NAME.\n'),
    ],
)
def test_a_push_that_cannot_be_is_one_line_with_the_next_step(session: Session, case: str, said: str) -> None:
    answer = session.answers[case]
    assert (answer["code"], answer["said"].replace(session.url, "HUB")) == (1, said)
