"""Spoil files of every kind of artifact, checkpoint and cache, and count what the commands that read them make of it.

    python -m benchmarks.faults_files [--faults 400] [--seed 0]

Made data: a random model of two layers, two selections, two runs of eight steps and one that broke off after four, a
report, a comparison, and the caches they leave. Each fault is done to one file of a fresh copy (a bit flipped, a number
edited, cut, emptied, deleted, swapped for the same file of another artifact); then the command that made the file, and
those that read it, run again in a process of their own. An outcome is one of

    named         the command fails and names the file
    made again    the command says so and ends with the results of whole files
    right anyway  the results of whole files, with nothing said: the file was not needed, or was absent and computed
    unnamed       the command fails with a line that does not name the file
    silent        other results without a word, or a bad file that `verify` calls whole
    traceback     the command ends with a traceback
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from curate.artifact.verify import verify_artifact
from curate.cli import main as curate
from evaluate_suite.cli import main as evalsuite
from finetune.cli import main as finetune
from finetune.run.checkpoints import complete_checkpoint

PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {"curate": curate, "finetune": finetune, "evalsuite": evalsuite}
FAULTS = ("bit flipped", "number edited", "cut", "emptied", "deleted", "swapped")
RUN = (
    "device=cpu", "load_in_4bit=false", "max_length=256", "per_device_train_batch_size=1",
    "gradient_accumulation_steps=2", "num_train_epochs=8", "max_steps=8", "logging_steps=1", "eval_steps=2",
    "warmup_steps=0", "eval_rows=4", "report_eval_rows=4", "learning_rate=1e-2", "target_modules=[q_proj,v_proj]",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A file to spoil, the commands to run then (each a list of words), and what its swap takes the place of."""

    kind: str
    path: Path
    commands: tuple[tuple[str, ...], ...]
    other: Path | None = None


@dataclass(frozen=True)
class Answer:
    """What a command said and left: exit code, text, and the content of what it makes."""

    code: int
    text: str
    results: tuple[tuple[str, bytes], ...]


class Workshop:
    """A folder with whole artifacts and their copies, in which commands run and files are spoiled."""

    def __init__(self, root: Path) -> None:
        self.root, self.whole = root / "work", root / "whole"
        self.root.mkdir(parents=True)
        os.chdir(self.root)
        os.environ |= {"ROWPICK_HOME": str(self.root / "artifacts"), "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}
        _import_everything()
        self._build()
        shutil.copytree(self.root, self.whole)
        self._good: dict[tuple[str, ...], Answer] = {}

    def select(self, out: str, *more: str) -> tuple[str, ...]:
        """The command that makes a selection."""
        return (
            "curate", "select", "--dataset", "rows.jsonl", "--model", "model", "--encoder", "tfidf",
            "--near-duplicate", "0.999", "--k", "16", "--holdout", "6", "--max-tokens", "250", "--out", out, *more,
        )  # fmt: skip

    def train(self, selection: str, out: str) -> tuple[str, ...]:
        """The command that makes a run."""
        return ("finetune", "run", "--selection", selection, "--out", out, "--wandb", "off", *RUN)

    def report(self, out: str) -> tuple[str, ...]:
        """The command that makes a report on both runs."""
        return (
            "evalsuite", "report", "runs/a", "runs/b", "--out", out, "--prompts", "prompts.jsonl",
            "--max-new-tokens", "8",
        )  # fmt: skip

    def compare(self) -> tuple[str, ...]:
        """The command that makes a comparison."""
        return (
            "curate", "compare", "--dataset", "rows.jsonl", "--model", "model", "--encoder", "tfidf", "--strategies",
            "random,first", "--near-duplicate", "0.999", "--k", "16", "--max-tokens", "250", "--out", "reports/c",
        )  # fmt: skip

    def execute(self, tasks: str, out: str) -> tuple[str, ...]:
        """The command that runs the tasks' own solutions, which are ours: no sandbox is needed for them."""
        return ("evalsuite", "execute", "--tasks", tasks, "--reference", "--out", out, "--execute", "--unsafe-local",
                "--workers", "1")  # fmt: skip

    def _build(self) -> None:
        build_model(self.root / "model")
        write_rows(self.root / "rows.jsonl")
        prompts = [{"prompt_id": name, "prompt": f"{name} a list", "language": "python"} for name in ("sort", "copy")]
        (self.root / "prompts.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
        for name in ("sort", "copy"):
            (self.root / f"{name}.tasks.jsonl").write_text("".join(json.dumps(task(name, n)) + "\n" for n in range(3)))
        with broken_off(self.root / "runs" / "a", self.root / "runs" / "unfinished", step=4):
            for words in (
                ("curate", "score", "--dataset", "rows.jsonl", "--score-model", "model", "--max-tokens", "400"),
                self.select("selections/a"),
                self.select("selections/b", "--seed", "1"),
                self.select("selections/ifd", "--strategy", "ifd", "--score-model", "model"),
                self.train("selections/a", "runs/a"),
                self.train("selections/b", "runs/b"),
                self.report("reports/r"),
                self.compare(),
                self.execute("sort.tasks.jsonl", "results/sort.jsonl"),
                self.execute("copy.tasks.jsonl", "results/copy.jsonl"),
            ):
                code, text = call(words)
                if code:
                    raise SystemExit(f"{' '.join(words)} failed:\n{text}")

    def targets(self) -> list[Target]:
        """Every file that can be spoiled, with its commands."""
        found: list[Target] = []

        def add(kind: str, folder: Path, other: Path | None, *commands: tuple[str, ...]) -> None:
            for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"):
                name = path.relative_to(folder)
                if kind == "run" and name.parts[0] == "checkpoints":
                    continue
                swap = other / name if other is not None and (other / name).is_file() else None
                found.append(Target(f"{kind} {name.name}", path, commands, swap))

        root = self.root
        selection, run = root / "selections", root / "runs"
        add("selection", selection / "a", selection / "b", self.select("selections/a"),
            ("curate", "verify", "selections/a"), self.train("selections/a", "new"))  # fmt: skip
        add("run", run / "a", run / "b", self.train("selections/a", "runs/a"), ("finetune", "verify", "runs/a"),
            self.report("new"))  # fmt: skip
        add("checkpoint", run / "unfinished" / "checkpoints", run / "b" / "checkpoints",
            ("finetune", "run", "--resume", "runs/unfinished", "--wandb", "off"),
            ("finetune", "verify", "runs/unfinished"))  # fmt: skip
        for name in ("config.yaml", "history.jsonl", "timings.jsonl"):
            found.append(
                Target(f"unfinished {name}", run / "unfinished" / name,
                       (("finetune", "run", "--resume", "runs/unfinished", "--wandb", "off"),), run / "b" / name)
            )  # fmt: skip
        add("report", root / "reports" / "r", root / "reports" / "c", self.report("reports/r"),
            ("evalsuite", "verify", "reports/r"))  # fmt: skip
        add("comparison", root / "reports" / "c", root / "reports" / "r", self.compare(),
            ("curate", "verify", "reports/c"))  # fmt: skip
        executed, again = root / "results", self.execute("sort.tasks.jsonl", "results/sort.jsonl")
        found.append(Target("results of execute", executed / "sort.jsonl", (again,), executed / "copy.jsonl"))
        cache = root / "artifacts" / "cache"
        for name, command in (
            ("embeddings", self.select("new")), ("token_counts", self.select("new")), ("eval_loss", self.report("new")),
            ("generations", self.report("new")),
            ("scores", self.select("new", "--strategy", "ifd", "--score-model", "model")),
        ):  # fmt: skip
            paths = sorted(p for p in (cache / name).iterdir() if p.suffix in (".npy", ".jsonl"))
            for path in paths:
                others = [p for p in paths if p != path]
                found.append(Target(f"cache {name}", path, (command,), others[0] if others else None))
        return found

    def restore(self) -> None:
        """Put every file back."""
        os.chdir(self.whole)
        shutil.rmtree(self.root)
        shutil.copytree(self.whole, self.root)
        os.chdir(self.root)

    def ask(self, words: tuple[str, ...]) -> Answer:
        """Run a command in a process of its own."""
        code, text = call(words)
        return Answer(code, text, tuple(results(self.root, words)))

    def good(self, words: tuple[str, ...]) -> Answer:
        """What a command says and leaves with whole files."""
        if words not in self._good:
            self.restore()
            self._good[words] = self.ask(words)
        return self._good[words]

    def outcomes(self, target: Target, fault: str, rng: random.Random) -> Iterator[tuple[str, str, str, str]]:
        """(command, outcome, what it said, what it made otherwise) of every command of a target after one fault; none
        where the fault cannot be done."""
        for words in target.commands:
            good = self.good(words)
            self.restore()
            state = rng.getstate()
            if not spoil(target.path, fault, target.other, rng):
                return
            rng.setstate(state)
            answer = self.ask(words)
            yield " ".join(words[:2]), judge(words, target.path, good, answer), answer.text, difference(good, answer)


def judge(words: Sequence[str], path: Path, good: Answer, answer: Answer) -> str:
    """The outcome of a command after a fault in `path`."""
    if "Traceback (most recent call last)" in answer.text or answer.code not in (0, 1, 2):
        return "traceback"
    names = any(part in answer.text for part in (path.name, path.parent.name))
    if words[1] == "verify":
        return "named" if answer.code == 1 and names else "silent"
    if answer.code:
        return "named" if names else "unnamed"
    if answer.results != good.results:
        return "silent"
    return "made again" if names and answer.text != good.text else "right anyway"


def difference(good: Answer, answer: Answer) -> str:
    """The first file that a command makes otherwise than with whole files, and both texts where they part."""
    before, after = dict(good.results), dict(answer.results)
    for name in sorted(before.keys() | after.keys()):
        left, right = before.get(name, b"(absent)"), after.get(name, b"(absent)")
        if left != right:
            shorter = min(len(left), len(right))
            place = next((at for at in range(shorter) if left[at] != right[at]), shorter)
            texts = [text[max(place - 60, 0) : place + 60].decode("utf-8", "replace") for text in (left, right)]
            return f"{name}, byte {place}: {texts[0]!r} became {texts[1]!r}"
    return ""


def results(root: Path, words: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The files that a command makes and that are equal for equal inputs; without names that hold the folder's."""
    out = root / (words[words.index("--out") + 1] if "--out" in words else words[words.index("--resume") + 1]
                  if "--resume" in words else "nothing")  # fmt: skip
    changing = {"manifest.json", "timings.jsonl", "README.md", "report.html", "index.html"}
    if words[:2] == ("finetune", "run"):
        changing |= {"config.yaml"} if "--resume" in words else set()
    if out.is_file():
        yield out.name, out.read_bytes()
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out)
        if (
            path.is_file()
            and path.name not in changing
            and path.suffix != ".changed"
            and "checkpoints" not in name.parts
        ):
            yield str(name), path.read_bytes().replace(str(out.name).encode(), b"OUT")
    if words[1] != "verify" and out.is_dir():
        yield "whole", str(not verify_artifact(out).damaged).encode()


def spoil(path: Path, fault: str, other: Path | None, rng: random.Random) -> bool:
    """Do one fault to a file; False where that is not possible, or would change nothing."""
    before = path.read_bytes()
    if fault == "deleted":
        path.unlink()
        return True
    after = _spoiled(before, fault, other, rng)
    if after is None or after == before or _same_json(path, before, after):
        return False
    path.write_bytes(after)
    return True


def _same_json(path: Path, before: bytes, after: bytes) -> bool:
    """Whether a JSON file says the same after an edit: the last of 17 digits, for one, changes no number."""
    try:
        return path.suffix == ".json" and bool(json.loads(before) == json.loads(after))
    except ValueError:
        return False


def _spoiled(before: bytes, fault: str, other: Path | None, rng: random.Random) -> bytes | None:
    if fault == "swapped":
        return other.read_bytes() if other is not None and other.is_file() else None
    if not before:
        return None
    if fault == "bit flipped":
        place = rng.randrange(len(before))
        return before[:place] + bytes([before[place] ^ 1 << rng.randrange(8)]) + before[place + 1 :]
    if fault == "number edited":
        digits = [place for place, byte in enumerate(before) if byte in b"0123456789"]
        if not digits:
            return None
        place = rng.choice(digits)
        return before[:place] + bytes([(before[place] - 48 + rng.randrange(1, 9)) % 10 + 48]) + before[place + 1 :]
    return before[: len(before) // 2] if fault == "cut" else b""


def call(words: Sequence[str]) -> tuple[int, str]:
    """(exit code, everything said) of a command, run in a fork of this process, which has imported everything."""
    with tempfile.TemporaryFile("w+b") as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.stdin = io.StringIO()
            code = 99
            with contextlib.suppress(BaseException):
                try:
                    code = PROGRAMS[words[0]](list(words[1:]))
                except BaseException:
                    traceback.print_exc()
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return code, said.read().decode("utf-8", "replace")


def _import_everything() -> None:
    """Import what the commands use, once, so that their forks start in no time."""
    for name in (
        "curate.pipeline", "curate.comparison.recipe", "curate.scores.scoring", "finetune.recipe", "finetune.trainer",
        "evaluate_suite.reporting.recipe", "evaluate_suite.reporting.models", "evaluate_suite.reporting.findings",
        "evaluate_suite.reporting.page", "finetune.run.verify",
    ):  # fmt: skip
        importlib.import_module(name)
    # Seconds a page, and nothing that is read again: pages are written without the chart library and still pictures.
    mock.patch("vl_convert.javascript_bundle", lambda code: "// left out").start()
    still = '<svg width="1" height="1" viewBox="0 0 1 1"></svg>'
    mock.patch("vl_convert.vegalite_to_svg", lambda spec: still).start()


@contextlib.contextmanager
def broken_off(run: Path, copy: Path, step: int) -> Iterator[None]:
    """Keep a copy of a run as it is once the checkpoint of `step` is written: what a kill there would leave."""

    def keep(folder: Path, at: int, *rest: Any) -> None:
        complete_checkpoint(folder, at, *rest)
        if at == step and folder.resolve().parent == run.resolve():
            shutil.copytree(run, copy)

    with mock.patch("finetune.run.callback.complete_checkpoint", keep):
        yield


def build_model(folder: Path) -> None:
    """Save a random Llama of two small layers with a byte-level vocabulary, and its tokenizer."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: i + 1 for i, letter in enumerate(letters)} | {"<end>": 0}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=257, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=512, bos_token_id=None, eos_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(folder)


def write_rows(path: Path) -> None:
    """60 rows, all different."""
    pairs = [(verb, noun) for verb in ("sort", "copy", "merge", "count", "parse", "print") for noun in
             ("list", "dict", "file", "text", "tree", "queue", "date", "path", "word", "line")]  # fmt: skip
    rows = [{"instruction": f"{v} a {n}", "output": f"def {v}_{n}(x):\n    return {v}(x)\n"} for v, n in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def task(name: str, number: int) -> dict[str, object]:
    """A task of MBPP's shape whose own solution passes."""
    code = f"def {name}_{number}(x):\n    return {name!r} + str(x)\n"
    return {"task_id": f"{name}/{number}", "text": f"{name} {number}.", "code": code,
            "test_list": [f"assert {name}_{number}(1) == {name!r} + '1'"], "test_setup_code": ""}  # fmt: skip


def every_kind_once(targets: Sequence[Target]) -> list[tuple[Target, str]]:
    """Each kind of file with one fault and one command, both in turn: a sample for a test."""
    sample = []
    for place, target in enumerate({target.kind: target for target in targets}.values()):
        fault = FAULTS[place % len(FAULTS)]
        command = target.commands[place % len(target.commands)]
        sample.append((replace(target, commands=(command,)), "cut" if target.other is None else fault))
    return sample


def measure(workshop: Workshop, faults: int | None, seed: int) -> dict[str, object]:
    """Counts by outcome, by kind of fault and by kind of file; every outcome that should not be is listed.

    With `faults` None it is `every_kind_once`.
    """
    rng = random.Random(seed)
    targets = workshop.targets()
    plan = [(target, fault) for target in targets for fault in FAULTS]
    rng.shuffle(plan)
    if faults is None:
        plan = every_kind_once(targets)
    while faults is not None and len(plan) < 2 * faults:  # further bits and digits, once every kind had its turn
        plan += [(target, fault) for target in targets for fault in FAULTS[:2]]
    counts: Counter[str] = Counter()
    by_fault: dict[str, Counter[str]] = {fault: Counter() for fault in FAULTS}
    bad: list[dict[str, str]] = []
    done, started = 0, time.perf_counter()
    kinds: set[str] = set()
    for target, fault in plan:
        if done == faults:
            break
        asked = 0
        for command, outcome, text, differs in workshop.outcomes(target, fault, rng):
            asked += 1
            counts[outcome] += 1
            by_fault[fault][outcome] += 1
            if outcome in ("silent", "traceback", "unnamed"):
                print(text[-1500:], file=sys.stderr)
                bad.append({"file": target.kind, "fault": fault, "command": command, "outcome": outcome,
                            "said": text[-600:], "differs": differs})  # fmt: skip
        done += asked > 0
        print(f"{done}: {target.kind}, {fault}: {dict(counts)}", file=sys.stderr, flush=True)
        kinds |= {target.kind} if asked else set()
    return {
        "data": "made", "faults": done, "kinds of files": len({target.kind for target in targets}),
        "kinds spoiled": len(kinds), "commands": sum(counts.values()), "outcomes": dict(counts),
        "by fault": {fault: dict(count) for fault, count in by_fault.items()}, "bad": bad,
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=400)
    parser.add_argument("--each-kind", action="store_true", help="every kind of file once, with one fault")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        found = measure(Workshop(Path(place) / "w"), None if given.each_kind else given.faults, given.seed)
        os.chdir(here)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
