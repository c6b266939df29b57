"""Chat templates: ours against transformers' own environment, byte for byte."""

import copy
import json
import re
from collections import Counter

from conversations import contexts
from transformers.utils.chat_template_utils import render_jinja_template

# "model" and then "gguf", a string of JavaScript, which is the template.
ENTRY = re.compile(r"""model: "([^"]+)",\s+gguf:\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""", re.S)
ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.S)
LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}


def javascript(literal):
    def character(match):
        code = match[1] or match[2] or match[3]
        return chr(int(code, 16)) if code else LETTERS.get(match[4], match[4])

    text = ESCAPE.sub(character, literal[1:-1])
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def collect(packages):
    """All templates by name, and how many of them are copies of others."""
    found = {}
    script = (packages / "ollama-utils" / "src" / "chat-template-automap.ts").read_text(encoding="utf-8")
    entries = ENTRY.findall(script)
    if len(entries) != script.count("\t\tgguf: "):
        raise ValueError(f"ollama-utils: {script.count('gguf: ')} templates, but {len(entries)} could be read")
    for model, literal in entries:
        found[f"ollama:{model}"] = javascript(literal)
    for config in sorted(packages.glob("tokenizer-*/models/tokenizer_config.json")):
        template = json.loads(config.read_text(encoding="utf-8")).get("chat_template")
        if isinstance(template, str):
            found[f"npm:{config.parts[-3]}"] = template
    for file in sorted((packages / "llama.cpp" / "models" / "templates").glob("*.jinja")):
        found[f"llama.cpp:{file.stem}"] = file.read_bytes().decode("utf-8")
    return found


def reference(template, context):
    given = copy.deepcopy(context)
    messages = given.pop("messages")
    tools, documents = given.pop("tools", None), given.pop("documents", None)
    try:
        texts, _ = render_jinja_template([messages], tools=tools, documents=documents, chat_template=template, **given)
        return texts[0], None
    except Exception as error:
        return None, repr(error)


class Result:
    def __init__(self, names, distinct, cases):
        self.templates, self.distinct, self.cases = names, distinct, cases
        self.counts, self.perfect, self.examples = Counter(), 0, {}

    def rendered(self):
        return sum(self.counts[k] for k in ("same", "different", "only ours refuses"))


def verdict(ours, theirs):
    if theirs is None:
        return "both refuse" if "error" in ours else "only Python refuses"
    if "error" in ours:
        return "only ours refuses"
    return "same" if ours["text"] == theirs else "different"


def first_difference(ours, theirs):
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    return f"ours {ours[max(0, at - 40) : at + 40]!r}, theirs {theirs[max(0, at - 40) : at + 40]!r}"


def compare(program, packages):
    found = collect(packages)
    distinct = {}
    for name, template in found.items():
        distinct.setdefault(template, name)
    cases = contexts()
    result = Result(len(found), len(distinct), len(distinct) * len(cases))
    answers = program.render([[template, [context for _, context in cases]] for template in distinct])
    for (template, name), row in zip(distinct.items(), answers):
        verdicts = Counter()
        for (case, context), ours in zip(cases, row):
            theirs, error = reference(template, context)
            kind = verdict(ours, theirs)
            verdicts[kind] += 1
            if kind == "different":
                detail = first_difference(ours["text"], theirs)
            elif kind == "only ours refuses":
                detail = ours["error"]
            elif kind == "only Python refuses":
                detail = error
            else:
                continue
            result.examples.setdefault((kind, name), [0, case, detail])[0] += 1
        result.counts += verdicts
        result.perfect += not (verdicts.keys() - {"same", "both refuse"})
    return result
