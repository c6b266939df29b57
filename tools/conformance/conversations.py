"""21 conversations, each with and without a generation prompt: what a template is asked to render."""

import json

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'Get the <b>weather</b> & "more" for Zürich\'s 天気',
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": 'City, e.g. "Paris"'},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
                "tags": {"type": "array", "items": {"type": "string"}},
                "opt": {"type": ["string", "null"]},
                "nested": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
            },
            "required": ["location"],
        },
        "return": {"type": "string"},
    },
}
PING = {
    "type": "function",
    "function": {"name": "ping", "description": "No parameters", "parameters": {"type": "object", "properties": {}}},
}
TOOLS = [WEATHER, PING]
ARGUMENTS = {"location": "Zürich <x>", "days": 3, "f": 1.0, "big": 1e20, "small": 1e-7, "flag": True, "none": None,
             "tags": ["a", "b'c"], "o": {"k": "v"}}  # fmt: skip

SYSTEM = {"role": "system", "content": "You are  helpful.\nBe brief. "}
RESULT = {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": '{"temp": 21.5}'}
DOCUMENTS = [{"title": "T1", "text": "body 1", "doc_id": 1}, {"title": "T2", "text": "body 2", "doc_id": 2}]


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(arguments, name="get_weather", id="call00001"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def image_url(url):
    return {"type": "image_url", "image_url": {"url": url}}


CONVERSATIONS = {
    "system and user": dict(messages=[SYSTEM, user("Hello 你好 <b>&'\"</b>\n")]),
    "user": dict(messages=[user(" hi there ")]),
    "many turns": dict(messages=[SYSTEM, user("Q1"), assistant("A1 "), user("Q2"),
                                 assistant("<think>\nhm\n</think>\n\nA2"), user("Q3")]),
    "many turns, no system": dict(messages=[user("Q1"), assistant("A1"), user("Q2")]),
    "assistant last": dict(messages=[SYSTEM, user("Q1"), assistant("A1")]),
    "reasoning": dict(messages=[user("Q1"), assistant("A1", reasoning_content="because\nof"), user("Q2")]),
    "tools": dict(messages=[SYSTEM, user("Weather?")], tools=TOOLS),
    "tools, no system": dict(messages=[user("Weather?")], tools=TOOLS),
    "tool call": dict(messages=[SYSTEM, user("Weather?"), assistant("", tool_calls=[call(ARGUMENTS)]), RESULT,
                                assistant("Warm."), user("Thanks")], tools=TOOLS),
    "tool call, text arguments": dict(messages=[user("Weather?"), assistant("", tool_calls=[call(json.dumps(ARGUMENTS))]),
                                                RESULT], tools=TOOLS),
    "tool call, no content": dict(messages=[user("W?"), assistant(None, tool_calls=[call({"location": "X"})]), RESULT],
                                  tools=TOOLS),
    "two tool calls": dict(messages=[user("W?"), assistant("Let me see.", tool_calls=[
        call({"location": "A"}), call({}, "ping", "call00002")]), RESULT,
        {"role": "tool", "tool_call_id": "call00002", "name": "ping", "content": "pong"}, assistant("ok"), user("more")],
        tools=TOOLS),
    "text parts": dict(messages=[user([{"type": "text", "text": "part one"}, {"type": "text", "text": " two"}])]),
    "image": dict(messages=[SYSTEM, user([{"type": "image"}, {"type": "text", "text": "What is it?"}]),
                            assistant("A cat."), user("Sure?")]),
    "image url": dict(messages=[user([{"type": "text", "text": "Look"}, image_url("http://x/y.png")])]),
    "no thinking": dict(messages=[user("Q")], enable_thinking=False),
    "thinking": dict(messages=[SYSTEM, user("Q")], enable_thinking=True, thinking=True),
    "documents": dict(messages=[user("Q")], documents=DOCUMENTS),
    "odd characters": dict(messages=[user("\x00\x1f\u2028 😀 \ufeff İ ß ﬁ"), assistant("ok\r\nline\ttab"), user("x")]),
    "empty": dict(messages=[user("")]),
    "developer": dict(messages=[{"role": "developer", "content": "Dev rules"}, user("Q")]),
}  # fmt: skip


def contexts():
    """What the template sees, by name."""
    return [
        (f"{name}{', prompt' if prompt else ''}", {**conversation, "add_generation_prompt": prompt, **TOKENS})
        for name, conversation in CONVERSATIONS.items()
        for prompt in (False, True)
    ]
