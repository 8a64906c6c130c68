"""Every cleaning check: what it drops, what it must not drop, and that row order plays no part."""

from __future__ import annotations

import random

import pytest

from curate.cleaning import near_duplicates
from curate.cleaning.exact_duplicates import find_exact_duplicates
from curate.cleaning.near_duplicates import jaccard, shingles
from curate.cleaning.table import CHECKS, DEFAULT_CHECKS, parse_checks
from curate.code.pieces import code_pieces, language_claimed
from curate.errors import UsageError
from curate.pool.rows import Row, build_row

FENCED = "Here is the code:\n\n```python\ndef f(x):\n    return x\n```\n\nIt returns its argument."
BROKEN = "Here is the code:\n\n```python\ndef f(x:\n    return x\n```"
JAVA = """public class Main {
  public static void main(String[] args) {
    int x = 1;
    System.out.println(x);
  }
}"""
JAVASCRIPT = "const a = [1, 2];\nfunction twice(x) {\n  return 2 * x;\n}\nconsole.log(a.map(twice));"


def reasons(check: str, *pairs: tuple[str, str]) -> list[str | None]:
    """The reason each pair is dropped with by `check` alone, None where it stays."""
    rows = [build_row(number, *pair, "test") for number, pair in enumerate(pairs)]
    found = {index: reason for index, reason, _ in CHECKS[check].load()(rows, [])}
    return [found.get(number) for number in range(len(pairs))]


@pytest.mark.parametrize(
    "output",
    [
        "I'm sorry, but I cannot help with that.",
        "I’m sorry, but as an AI language model I am unable to access the internet.",
        "As an AI language model, I can't execute code.",
        "Sorry, the question is unclear. Could you please provide more information?",
        "Unfortunately, I don't have enough context.",
        "Please provide more information about the input.",
        "I cannot fulfil this request.",
    ],
)
def test_an_output_that_declines_is_a_refusal(output: str) -> None:
    assert reasons("refusals", ("Write a function.", output)) == ["refusal"]


@pytest.mark.parametrize(
    "output",
    [
        "I'm sorry for the delay in answering your letter. We will send the goods tomorrow.",
        "You can't do this with a list, because lists are not hashable.",
        "I'm sorry, I cannot run it, but here is the code:\n```python\nprint(1)\n```",
        "I'm sorry, but I cannot help with that request.\n```\nuse the form\n```",
        'print("I\'m sorry, but I cannot help with that.")',
        "def sorry():\n    return 'I cannot help with that request'",
        "Please provide a name: when the program starts it asks for one.",
        "The function cannot return None.",
    ],
)
def test_an_answer_is_not_a_refusal(output: str) -> None:
    assert reasons("refusals", ("Write a function.", output)) == [None]


@pytest.mark.parametrize(
    ("instruction", "output"),
    [
        ("Write a function.", BROKEN),
        ("Write a Python function.", "def f(x):\nreturn x"),
        ("Write a Java program.", JAVA.replace("int x = 1;", "int x = ;")),
        ("Write some JavaScript code.", JAVASCRIPT.replace("2 * x", "2 * * x")),
        ("Anything.", "```js\nfunction f( {\n```"),
        ("Anything.", "Two blocks:\n```python\nx = 1\n```\nand\n```python\ny = = 2\n```"),
        ("Anything.", "```python\ndef f(x):\n    return (x"),
        ("Anything.", "```python\nprint 'hello'\n```"),
        ("Anything.", "```python\nprint(x?)\n```"),
        ("Anything.", "```python\nfor i in x:\n\tf(i)\n        g(i)\n```"),
        ("Anything.", "```go\nx := := 1\n```"),
        ("Anything.", "```cpp\nfor (auto a : ) a++;\n```"),
    ],
)
def test_code_that_does_not_parse_as_it_claims_is_dropped(instruction: str, output: str) -> None:
    assert reasons("parse", (instruction, output)) == ["does_not_parse"]


@pytest.mark.parametrize(
    ("instruction", "output"),
    [
        ("Write a Python function.", FENCED),
        ("Write a Python function.", "def f(x):\n    return x"),
        ("Write a Python function.", "The built-in sum does this: sum(x). Call it with a list."),
        ("Write a Python function.", "Use this:\n\ndef f(x):\n    return x\n\nIt returns its argument."),
        ("Show a session.", "```python\n>>> 1 + 1\n2\n```"),
        ("In a notebook.", "```python\n!pip install numpy\nimport numpy\n```"),
        ("A method.", "```python\n    def f(self):\n        return 1\n```"),
        ("What does it print?", "```\nTraceback (most recent call last):\n  oops (\n```"),
        ("Show the output.", "```text\nnot ( code\n```"),
        ("Write a C program.", "#include <stdio.h> \n\nint main() \n{ \n  return 0; \n} "),
        ("Write C# code.", "```csharp\nint x = 1;\nConsole.WriteLine(x);\n```"),
        ("Python 3.12.", '```python\nname = {\'a\': 1}\nprint(f"{name["a"]}")\n```'),
        ("Python 3.12.", "```python\ntype Pair[T] = tuple[T, T]\n```"),
        ("Python 3.14.", "```python\ntry:\n    f()\nexcept A, B:\n    g(t'{x}')\n```"),
        ("The asyncio REPL.", "```python\nx = await fetch()\nprint(x)\n```"),
        ("A notebook.", "```python\n%time x = await f()\n```"),
        ("Statements in Go.", '```go\nimport "fmt"\n\nfunc f() int { return 1 }\n\nx := f()\nfmt.Println(x)\n```'),
        ("Statements in C++.", "```cpp\n#include <vector>\nstd::cout << 1;\nfor (auto& a : b) a++;\n```"),
        ("JSX.", "```tsx\nconst App = () => <div>{x}</div>;\n```"),
        ("Write a query in SQL.", "```sql\nSELECT TOP 5 * FROM t WHERE a LIKE '%x%' QUALIFY 1\n```"),
        ("Write a program in an unknown language.", "BEGIN ( oops"),
    ],
)
def test_code_that_parses_or_claims_nothing_stays(instruction: str, output: str) -> None:
    assert reasons("parse", (instruction, output)) == [None]


@pytest.mark.parametrize(
    ("instruction", "output"),
    [
        ("Write a Python function.", JAVA),
        ("Write a Python function.", f"```java\n{JAVA}\n```"),
        ("Create a Java class.", "def f(x):\n    return x\n\nclass A:\n    pass\n\nprint(f(1))"),
        ("Implement it in Rust.", f"Sure:\n```javascript\n{JAVASCRIPT}\n```"),
    ],
)
def test_code_in_another_language_than_asked_is_dropped(instruction: str, output: str) -> None:
    assert reasons("language", (instruction, output)) == ["wrong_language"]


@pytest.mark.parametrize(
    ("instruction", "output"),
    [
        ("Write a Python function.", FENCED),
        ("Translate this Python code to Java.", JAVA),
        ("Compare Python and Java.", JAVA),
        ("Write a TypeScript function.", JAVASCRIPT),
        ("Write a C program.", "```cpp\nint main() { return 0; }\n```"),
        ("Build a Python Flask page.", "```html\n<p>Hello</p>\n```"),
        ("Write a Kotlin class that Java can call.", "class A {\n  fun f(): Int = 1\n}"),
        ("Write a function.", JAVA),
        ("Write a Python program.", 'System.out.println("hi");\nint x = 1;'),  # two lines are too few to tell
        ("Write a Python function.", f"```java\n{JAVA}\n```\nand in Python:\n```python\nx = 1\n```"),
        ("Express a number as a ratio.", "def f(x):\n    return x\n\nclass A:\n    pass\n\nprint(f(1))"),
    ],
)
def test_code_that_may_be_what_was_asked_stays(instruction: str, output: str) -> None:
    assert reasons("language", (instruction, output)) == [None]


def test_a_pool_of_clean_answers_in_every_form_survives_every_check() -> None:
    pairs = [
        ("Write a Python function that returns its argument.", FENCED),
        ("Write a Python function to add.", "def add(a, b):\n    return a + b"),
        ("Explain recursion.", "A function that calls itself. Each call works on a smaller part of the input."),
        ("A page with a script.", "```html\n<p id='a'></p>\n```\n```css\np { color: red; }\n```\n```js\nf(1);\n```"),
        ("Write a Java program that prints one.", JAVA),
        ("Double every number with JavaScript.", JAVASCRIPT),
        ("A shell line that counts files?", "ls | wc -l"),
    ]  # fmt: skip
    for check in CHECKS:
        assert reasons(check, *pairs) == [None] * len(pairs), check


def words(n: int, seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(500)}" for _ in range(n))


def test_near_duplicates_leave_the_smallest_row_id_whatever_the_order() -> None:
    pairs = [("ask", words(100, i)) for i in range(40)]
    pairs += [("ask", f"{text} one more") for _, text in pairs[:15]]
    survivors = set()
    for seed in range(5):
        shuffled = pairs[:]
        random.Random(seed).shuffle(shuffled)
        rows = [build_row(number, *pair, "test") for number, pair in enumerate(shuffled)]
        found = {index for index, _, _ in CHECKS["near-duplicates"].load()(rows, [])}
        assert len(found) == 15
        survivors.add(frozenset(row.row_id for row in rows if row.row_index not in found))
    assert len(survivors) == 1
    ids = {build_row(0, *pair, "test").row_id for pair in pairs[15:40]}
    assert all(ids < kept for kept in survivors)


def test_a_near_duplicate_of_a_held_out_row_goes_and_the_held_out_row_stays() -> None:
    text = words(100, 1)
    for candidate, held in ((f"{text} more", text), (text, f"{text} more")):
        row, kept = build_row(0, "ask", candidate, "t"), build_row(1, "ask", held, "t")
        ((index, reason, detail),) = CHECKS["near-duplicates"].load()([row], [kept])
        assert (index, reason) == (0, "near_duplicate_of_holdout")
        assert str(detail).startswith(kept.row_id)


def test_rows_below_the_bound_are_no_near_duplicates() -> None:
    text = words(100, 1)
    other = " ".join(word if i % 4 else f"x{i}" for i, word in enumerate(text.split()))
    assert jaccard(shingles(text), shingles(other)) < 0.8
    assert jaccard(shingles(""), shingles(" \n")) == 1.0
    assert reasons("near-duplicates", ("ask", text), ("ask", other)) == [None, None]


def test_a_pool_from_one_template_is_not_compared_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def count(a: object, b: object) -> float:
        compared.append(1)
        return 0.7

    monkeypatch.setattr(near_duplicates, "jaccard", count)
    text = words(200, 1)
    pairs = [(f"ask {i}", f"{text} tail {i}") for i in range(600)]
    assert reasons("near-duplicates", *pairs) == [None] * 600
    assert 0 < len(compared) <= 600 * near_duplicates.BANDS * 20


def test_exact_duplicates_ignore_white_space_at_the_ends_of_lines_and_the_order_of_rows() -> None:
    rows = [build_row(i, "a b\r\n", f"x{' ' * i}\ny", "t") for i in range(4)] + [build_row(4, "a b", "x z", "t")]
    for order in (rows, rows[::-1]):
        kept = {row.row_id for row in rows} - {rows[index].row_id for index, _, _ in find_exact_duplicates(order)}
        assert kept == {min(row.row_id for row in rows[:4]), rows[4].row_id}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("for x in y:\n    print(x)\n    f()", "for x in y:\n    print(x)\nf()"),
        ("print('a  b')", "print('a b')"),
        ("x = 1\ny = 2", "x = 1 y = 2"),
        ("all:\n\tmake", "all:\n        make"),
        ('s = """a\n\nb"""', 's = """a\nb"""'),
        ("a\x0cb", "a\nb"),
    ],
)
def test_programs_that_differ_in_white_space_inside_them_are_no_duplicates(one: str, other: str) -> None:
    assert reasons("duplicates", ("ask", one), ("ask", other)) == [None, None]


@pytest.mark.parametrize(
    "output",
    [
        "", " \n", "nan", "NaN", "N/A", "#N/A", "<NA>", "<nooutput>", "<no output>", "```python\n```", "```\n\n```\n",
        "~~~\n~~~", "```", "</s>", "<|im_end|>\n", "\u200b", "\ufeff\n", "```python\r\n```\r\n", "```\nN/A\n```",
    ],
)  # fmt: skip
def test_an_output_that_says_nothing_is_empty(output: str) -> None:
    assert reasons("empty", ("ask", output)) == ["empty_output"]


@pytest.mark.parametrize("instruction", ["", " \n", "-", "nan", "N/A", "<noinput>"])
def test_an_instruction_that_asks_nothing_is_empty(instruction: str) -> None:
    assert reasons("empty", (instruction, "print(1)"), (f"{instruction} 1", "print(1)")) == ["empty_instruction", None]


@pytest.mark.parametrize(
    "output", ["None", "null", "0", "-", "False", "nan = 1", "```\n0\n```", "<s>struck</s>", "[]", "N/A: no answer"]
)
def test_a_short_answer_is_not_empty(output: str) -> None:
    assert reasons("empty", ("ask", output)) == [None]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "\ud800 lone",
        "x" * 300_000,
        "```python\n" + "(" * 50_000,
        "`" * 10_000,
        '"""' * 5_001,
        "def f(:\n" * 5_000,
    ],
)
def test_hostile_text_is_looked_at_in_bounded_time(text: str) -> None:
    for name in CHECKS:
        CHECKS[name].load()([build_row(0, f"Write Python. {text}", text, "t")], [Row(1, "id", text, text, "t")])


def test_pieces_of_code_and_claims_are_found_in_prose() -> None:
    assert [piece.tag for piece in code_pieces(FENCED)] == ["python"]
    assert code_pieces("No code in here at all.") == []
    assert language_claimed("Write a Python function.") == "python"
    assert language_claimed("Write Python or Java.") is None
    assert language_claimed("Port this Python code to C.") is None


def test_checks_are_named_in_the_order_they_run_and_unknown_ones_are_told() -> None:
    assert parse_checks("parse,empty") == ("empty", "parse")
    assert parse_checks("all") == tuple(CHECKS)
    assert parse_checks("none") == ()
    assert set(DEFAULT_CHECKS) <= set(CHECKS)
    with pytest.raises(UsageError, match='Unknown check "pars" in --clean. Did you mean "parse"?'):
        parse_checks("empty,pars")
