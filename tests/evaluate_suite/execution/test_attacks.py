"""No hostile program gets out, stays alive, escapes its limits or fakes a pass; and the watch would have seen it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from curate.errors import UserError
from evaluate_suite.execution.sandbox import Mode, choose_mode

from .arena import Arena, Outcome, arena, sandbox_runner
from .attacks import KINDS, load_attacks, load_controls

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")
ATTACKS = load_attacks()
ROOT = Path(__file__).parents[3]
SYSTEM_PYTHON = Path("/usr/bin/python3")
# What is run again in other modes and as another user; limits and judge are the same in all.
BY_NAMESPACES = ["read_outside", "write_outside", "snooping", "network", "leftovers", "links_and_descriptors",
                    "kernel_calls", "killing_the_judge"]  # fmt: skip


def usable_mode() -> Mode:
    try:
        return choose_mode()
    except UserError as error:
        pytest.skip(f"NO SANDBOX HERE: {error}")


@pytest.fixture(scope="module")
def place() -> Iterator[Arena]:
    with arena() as made:
        yield made


@pytest.fixture(scope="module")
def outcomes(place: Arena) -> dict[tuple[str, str], Outcome]:
    """Every attack, run once, two at a time, in the sandbox that this machine gives."""
    found = place.run_all(ATTACKS, sandbox_runner(usable_mode()), workers=2)
    return {(o.attack.kind, o.attack.name): o for o in found}


def test_there_are_at_least_150_attacks_of_every_kind() -> None:
    assert len({(attack.kind, attack.name) for attack in ATTACKS}) == len(ATTACKS) >= 150
    assert {attack.kind for attack in ATTACKS} == set(KINDS)


@pytest.mark.long
def test_no_attack_leaves_a_trace_outside(place: Arena, outcomes: dict[tuple[str, str], Outcome]) -> None:
    assert place.damage() == []
    assert len(outcomes) == len(ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{a.kind}: {a.name}")
@pytest.mark.long
def test_the_attack_is_stopped_by_the_guard_it_names(attack, outcomes) -> None:  # type: ignore[no-untyped-def]
    outcome = outcomes[attack.kind, attack.name]
    assert outcome.succeeded == (), outcome.evidence
    assert outcome.stopped_by is not None, f"not the words of {attack.guard}: {outcome.evidence}"


# What the watch must say of a program that does what its kind tries while nothing holds it back.
CONTROL_SAYS = {
    "read_outside": "read the secret",
    "write_outside": "files outside were changed",
    "snooping": "says it did it",
    "network": "listener tcp4 was reached",
    "process_bombs": "processes",
    "memory_bombs": "bytes",
    "disk_bombs": "says it did it",
    "output_floods": "output",
    "endless": "seconds",
    "leftovers": "was left behind",
    "links_and_descriptors": "read the secret",
    "kernel_calls": "says it did it",
    "killing_the_judge": "supervisor_lost",
    "faked_verdicts": "passed with a wrong solution",
    "forged_results": "passed with a wrong solution",
}


@pytest.mark.parametrize("control", load_controls(), ids=lambda a: a.kind)
def test_the_watch_sees_a_program_that_nothing_holds_back(control) -> None:  # type: ignore[no-untyped-def]
    unhurried = replace(control, limits={**control.limits, "cpu_seconds": 20.0})  # so that it ends by itself, anywhere
    with arena() as place:
        outcome = place.run(unhurried, sandbox_runner("none"))
        crowd, weight = place.most_processes, place.most_bytes
        seen = [*outcome.succeeded, *place.damage(), outcome.evidence.split(":")[0]]
    seen += ["processes"] * (crowd > 30) + ["bytes"] * (weight > 600 << 20)
    seen += ["seconds"] * (outcome.ended.seconds > 3) + ["output"] * ("x" * 250 in outcome.ended.text)
    assert any(CONTROL_SAYS[control.kind] in line for line in seen), seen


@pytest.mark.long
def test_without_bubblewrap_the_same_attacks_are_stopped(place: Arena) -> None:
    if usable_mode() == "unshare":
        pytest.skip("the suite above ran without bubblewrap already")
    attacks = [attack for attack in ATTACKS if attack.kind in BY_NAMESPACES and not attack.sleeps]
    found = place.run_all(attacks, sandbox_runner("unshare"), workers=2)
    troubles = [(o.attack.name, o.succeeded, o.evidence) for o in found if o.succeeded or not o.stopped_by]
    if troubles and all("setup_failed" in evidence for _, _, evidence in troubles):
        pytest.skip(f"ONLY BUBBLEWRAP MAY MAKE NAMESPACES HERE: {troubles[0][2]}")
    assert (place.damage(), troubles) == ([], [])
    assert len(found) > 150


@pytest.mark.parametrize("mode", ["bwrap", "unshare"])
@pytest.mark.long
def test_an_ordinary_user_has_the_same_sandbox(mode: str, tmp_path: Path) -> None:
    """Root runs the suite above here and in CI; this runs it again without any privilege."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("the suite above ran as an ordinary user already")
    if not SYSTEM_PYTHON.exists() or not ROOT.stat().st_mode & 0o005:
        pytest.skip("NO PYTHON FOR ANOTHER USER: /usr/bin/python3 is absent or the checkout is private")
    if mode == "bwrap" and not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed")
    code = f"""
import sys
if sys.version_info < (3, 11): sys.exit(77)
from tests.evaluate_suite.execution.arena import *
from tests.evaluate_suite.execution.attacks import load_attacks
with arena() as place:
    attacks = [a for a in load_attacks() if a.kind in {BY_NAMESPACES!r} and not a.sleeps]
    found = place.run_all(attacks, sandbox_runner({mode!r}), 2)
    print(json.dumps([len(found), place.damage(), [[o.attack.name, o.succeeded, o.stopped_by, o.evidence]
          for o in found if o.succeeded or not o.stopped_by]]))
"""
    command = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        str(SYSTEM_PYTHON),
        "-B",
        "-c",
        code,
    ]
    environment = {"PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=300)
    if done.returncode == 77:
        pytest.skip("PYTHON TOO OLD FOR ANOTHER USER: /usr/bin/python3")
    assert done.returncode == 0, done.stderr[-1000:]
    count, damage, troubles = json.loads(done.stdout)
    if troubles and all("setup_failed" in trouble[3] for trouble in troubles):
        pytest.skip(f"NO USER NAMESPACES FOR OTHERS HERE: {troubles[0][3]}")
    assert (damage, troubles) == ([], [])
    assert count > 150
