"""Ollama's Modelfile: the weights, and the prompt template that a run was trained with, in Ollama's own notation."""

from __future__ import annotations

import json
import re

from curate.errors import UserError
from curate.tokens.prompt import PromptTemplate

_PROMPT = "{{ .Prompt }}"
_QUOTES = '"""'
# What would be read as notation, written as a string that prints it.
_ESCAPED = re.compile(r'\{\{|"""')
_ACTION = re.compile(r'\{\{ (\.Prompt|"(?:[^"\\]|\\.)*") \}\}')
_TEMPLATE = re.compile(f"^TEMPLATE {_QUOTES}(.*?){_QUOTES}$", re.DOTALL | re.MULTILINE)


def render_modelfile(gguf_name: str, template: PromptTemplate) -> str:
    """Return a Modelfile for `ollama create` that gives the model in `gguf_name` prompts as it was trained on.

    It decodes greedily, as the reports here do; how to sample is for whoever runs the model.
    """
    before, after = template.around
    text = _ESCAPED.sub(_as_string, before) + _PROMPT + _ESCAPED.sub(_as_string, after)
    modelfile = f"FROM ./{gguf_name}\nTEMPLATE {_QUOTES}{text}{_QUOTES}\nPARAMETER temperature 0\n"
    if read_modelfile_template(modelfile) != (before, after):
        raise UserError(
            f"The prompt template {template.name} cannot be written in Ollama's notation so that it reads the same.",
            "Select and train with a template that has no quotation marks at its ends.",
        )
    return modelfile


def read_modelfile_template(modelfile: str) -> tuple[str, str]:
    """Return what a Modelfile's template puts before and behind the prompt, as Ollama would print it."""
    match = _TEMPLATE.search(modelfile)
    if match is None:
        raise ValueError("the Modelfile has no TEMPLATE")
    pieces: list[str] = [""]
    done = 0
    for action in _ACTION.finditer(match[1]):
        pieces[-1] += match[1][done : action.start()]
        if action[1] == ".Prompt":
            pieces.append("")
        else:
            pieces[-1] += json.loads(action[1])
        done = action.end()
    pieces[-1] += match[1][done:]
    if len(pieces) != 2:
        raise ValueError(f"the template prints the prompt {len(pieces) - 1} times")
    return pieces[0], pieces[1]


def jinja_template(template: PromptTemplate) -> str:
    """Return the template as a chat template for one user turn, which llama.cpp's own server and client read."""
    before, after = template.around
    return f'{{{{ {json.dumps(before)} }}}}{{{{ messages[-1]["content"] }}}}{{{{ {json.dumps(after)} }}}}'


def _as_string(match: re.Match[str]) -> str:
    return f"{{{{ {json.dumps(match[0])} }}}}"
