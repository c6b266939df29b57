"""What transformers makes of the templates in tests/data/text/templates.

Writes tests/data/text/chat/<template>.json: cases with the messages, the options and the rendered
text, or null where transformers refuses.  Needs transformers and jinja2.
"""

import copy
import json
from importlib import metadata
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

DATA = Path(__file__).resolve().parents[3] / "tests" / "data" / "text"
VERSIONS = {name: metadata.version(name) for name in ("transformers", "jinja2")}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'Get the <b>weather</b> & "more" for Zürich\'s 天気',
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": 'City, e.g. "Paris"'},
                "days": {"type": "integer", "minimum": 1},
            },
            "required": ["location"],
        },
    },
}
PING = {"type": "function", "function": {"name": "ping", "description": "", "parameters": {}}}
ARGUMENTS = {"location": "Zürich <x>", "f": 1.0, "big": 1e20, "small": 1e-7, "flag": True, "none": None,
             "tags": ["a", "b'c"], "o": {"k": "v"}}  # fmt: skip

SYSTEM = {"role": "system", "content": "You are  helpful.\nBe brief. "}
RESULT = {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": '{"temp": 21.5}'}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(arguments, name="get_weather", id="call00001"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


CONVERSATIONS = {
    "system and user": dict(messages=[SYSTEM, user("Hello 你好 <b>&'\"</b>\n")]),
    "user": dict(messages=[user(" hi there ")]),
    "many turns": dict(messages=[SYSTEM, user("Q1"), assistant("A1 "), user("Q2"),
                                 assistant("<think>\nhm\n</think>\n\nA2"), user("Q3")]),
    "reasoning": dict(messages=[user("Q1"), assistant("A1", reasoning_content="because\nof")]),
    "thinking": dict(messages=[user("Q1"), assistant("A1", thinking="because\nof"), user("Q2")]),
    "tools": dict(messages=[SYSTEM, user("Weather?")], tools=[WEATHER, PING]),
    "no tools": dict(messages=[user("Weather?")], tools=[]),
    "tool call": dict(messages=[SYSTEM, user("Weather?"), assistant("", tool_calls=[call(ARGUMENTS)]), RESULT,
                                assistant("Warm."), user("Thanks")], tools=[WEATHER]),
    "call with text arguments": dict(messages=[user("W?"), assistant("", tool_calls=[call(json.dumps(ARGUMENTS))]),
                                               RESULT], tools=[WEATHER]),
    "two calls": dict(messages=[user("W?"), assistant("Let me see.", tool_calls=[
        call({"location": "A"}), call({}, "ping", "call00002")]), RESULT,
        dict(RESULT, tool_call_id="call00002", content="pong")], tools=[WEATHER, PING]),
    "no content": dict(messages=[user("W?"), assistant(None, tool_calls=[call({"location": "X"})]), RESULT],
                       tools=[WEATHER]),
    "parts": dict(messages=[user([{"type": "text", "text": "one"}, {"type": "image"}, {"type": "text", "text": " two"}])]),
    "odd characters": dict(messages=[user("\x00\x1f\u2028 😀 \ufeff İ ß ﬁ"), assistant("ok\r\nline\ttab"), user("x")]),
    "empty": dict(messages=[user("")]),
    "wrong order": dict(messages=[assistant("A"), user("Q")]),
    "thinking off": dict(messages=[user("Q")], extra=dict(enable_thinking=False)),
    "extra keys": dict(messages=[user("Q")], extra=dict(date_string="1 Jan 2030", bos_token="<B>", documents=[{"title": "t"}])),
}  # fmt: skip
CONTINUED = {
    "continued": dict(messages=[user("Q"), assistant("The answer is")]),
    "continued after a space": dict(messages=[user("Q"), assistant("The answer is ")]),
    "continued reasoning": dict(messages=[user("Q"), assistant("<think>\nhm\n</think>\n\nSo")]),
}


def render(template, conversation, thinking, **options):
    given = copy.deepcopy(conversation)
    keys = {**TOKENS, "enable_thinking": thinking, "date_string": "26 Jul 2024", **given.get("extra", {})}
    documents = keys.pop("documents", None)
    try:
        rendered, _ = render_jinja_template(
            [given["messages"]], tools=given.get("tools"), documents=documents, chat_template=template, **options, **keys
        )
        return rendered[0]
    except Exception:
        return None


def case(name, template, conversation, **options):
    text = render(template, conversation, True, **options)
    extra = {"date_string": "26 Jul 2024", **conversation.get("extra", {})}
    given = {**conversation, "extra": extra, **options}
    return {"name": name, **given, "text": text}


def main():
    (DATA / "chat").mkdir(exist_ok=True)
    for path in sorted((DATA / "templates").glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        cases = []
        for name, conversation in CONVERSATIONS.items():
            for prompt in (False, True):
                cases.append(case(name, template, conversation, add_generation_prompt=prompt))
        for name, conversation in CONTINUED.items():
            cases.append(case(name, template, conversation, continue_final_message=True))
        refused = sum(c["text"] is None for c in cases)
        out = {"versions": VERSIONS, **TOKENS, "cases": cases}
        text = json.dumps(out, ensure_ascii=True, separators=(",", ":"))
        (DATA / "chat" / f"{path.stem}.json").write_text(text + "\n", encoding="utf-8")
        print(path.name, len(cases), "cases,", refused, "refused,", len(text), "bytes")


if __name__ == "__main__":
    main()
