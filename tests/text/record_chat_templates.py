#!/usr/bin/env python3
"""What jinja2 makes of tests/fixtures/chat_templates/*.jinja: expected.json beside them.

    python3 tests/text/record_chat_templates.py

Run from the repository's root; needs jinja2 3.1. The clock stands at jinja_environment.NOW.
"""

import json
from pathlib import Path

from jinja_environment import environment, outcome

FOLDER = Path("tests/fixtures/chat_templates")
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a place.",
    "parameters": {"type": "object", "properties": {
        "place": {"type": "string", "description": "City & country"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "array", "items": {"type": "integer"}, "description": "Days from now"}},
        "required": ["place"]}}}
SUM = {"type": "function", "function": {
    "name": "sum", "description": "Adds numbers <a> and 'b'.",
    "parameters": {"type": "object", "properties": {
        "a": {"type": ["number", "null"]},
        "options": {"type": "object", "properties": {"round": {"type": "boolean"}, "digits": {"type": "integer", "default": 2}},
                    "required": ["round"], "description": "How"}},
        "required": []}}}
DOCUMENTS = [{"title": "the first", "text": "Grass is green.\n\nThe sky is blue on most of the days of a year."},
             {"title": "", "text": "Ünïcode: 世界 \U0001f600"}]


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def call(name, arguments, identity="abcdefghi"):
    return {"type": "function", "id": identity, "function": {"name": name, "arguments": arguments}}


def result(text, identity="abcdefghi"):
    return {"role": "tool", "content": text, "tool_call_id": identity, "name": "get_weather"}


TOOL_TALK = [system("You may call functions."), user("Weather in Paris?"),
             assistant("", tool_calls=[call("get_weather", {"place": "Paris \"FR\" é", "days": [0, 1], "deep": {"x": None, "y": 1.5}})]),
             result("{\"temp\": 21.5}"), assistant("21.5 degrees."), user("And tomorrow?")]

SETS = {
    "one": {"messages": [user("Hello!")], "add_generation_prompt": True},
    "one_without_prompt": {"messages": [user("Hello!")], "add_generation_prompt": False},
    "system": {"messages": [system("Be brief."), user(" What is 2 + 2?\n")], "add_generation_prompt": True},
    "turns": {"messages": [system("Be \"brief\"."), user("Hi <b>&amp;"), assistant(" Hello. "), user("世界 \U0001f600 'x'"), assistant("ok\n")],
              "add_generation_prompt": False},
    "long": {"messages": [user(f"Question {i // 2}?") if i % 2 == 0 else assistant(f"Answer {i // 2}.") for i in range(9)], "add_generation_prompt": True},
    "tools": {"messages": [system("You may call functions."), user("Weather in Paris?")], "tools": [WEATHER, SUM], "add_generation_prompt": True},
    "tools_without_system": {"messages": [user("Add.")], "tools": [SUM], "add_generation_prompt": True},
    "tool_call": {"messages": TOOL_TALK[:3], "tools": [WEATHER], "add_generation_prompt": False},
    "tool_result": {"messages": TOOL_TALK[:4], "tools": [WEATHER], "add_generation_prompt": True},
    "tool_talk": {"messages": TOOL_TALK, "tools": [WEATHER, SUM], "add_generation_prompt": True},
    "two_calls": {"messages": [user("Both."), assistant("Well:", tool_calls=[call("get_weather", {"place": "A"}, "123456789"), call("sum", {}, "987654321")]),
                               result("one", "123456789"), result("two", "987654321")], "tools": [WEATHER, SUM], "add_generation_prompt": True},
    "documents": {"messages": [user("What colour is grass?")], "documents": DOCUMENTS, "add_generation_prompt": True},
    "documents_and_tools": {"messages": [system("Use them."), user("Go.")], "documents": DOCUMENTS, "tools": [WEATHER], "add_generation_prompt": True,
                            "controls": {"citations": True, "length": "short"}},
    "thinking": {"messages": [user("Why?"), assistant("<think>\nFirst.\n</think>\n\nBecause.", thinking="First."), user("Really?"),
                              assistant("Yes.", reasoning_content="\nLet me see.\n", thinking="Let me see.")], "add_generation_prompt": False},
    "not_thinking": {"messages": [user("Why?")], "add_generation_prompt": True, "enable_thinking": False, "thinking": False, "reasoning_effort": "low"},
    "parts": {"messages": [{"role": "system", "content": [{"type": "text", "text": "See."}]},
                           {"role": "user", "content": [{"type": "text", "text": " Describe: "}, {"type": "image", "url": "a.png"}, {"type": "text", "text": "now"}]}],
              "add_generation_prompt": True, "add_vision_id": True},
    "wrong_order": {"messages": [user("a"), user("b")], "add_generation_prompt": True},
    "only_system": {"messages": [system("alone")], "add_generation_prompt": True},
    "strange_role": {"messages": [{"role": "narrator", "content": "Once upon a time"}], "add_generation_prompt": False},
    "no_content": {"messages": [user("x"), assistant(None), {"role": "user"}], "add_generation_prompt": True},
    "given_date": {"messages": [user("Hi")], "add_generation_prompt": True, "date_string": "26 Jul 2024", "tools_in_user_message": False, "tools": [WEATHER]},
}


def main():
    env = environment()
    expected = {}
    for path in sorted(FOLDER.glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        expected[path.stem] = {}
        for name, chat in SETS.items():
            variables = {**TOKENS, "tools": None, "documents": None, **chat}
            kind, text = outcome(env, source, variables)
            expected[path.stem][name] = {"text": text} if kind == "out" else {"error": text}
    with open(FOLDER / "expected.json", "w", encoding="utf-8") as file:
        json.dump({"tokens": TOKENS, "sets": SETS, "expected": expected}, file, ensure_ascii=False, indent=0)
        file.write("\n")


if __name__ == "__main__":
    main()
