"""Jinja as transformers sets it up for chat templates, with a clock that stands still."""

import copy
import json
from datetime import datetime

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime(2025, 3, 9, 14, 5, 7)


class Generation(jinja2.ext.Extension):
    """`generation` blocks, as transformers' AssistantTracker parses them."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("write")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def write(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def slice_is_not_constant(node, eval_ctx=None, as_const=jinja2.nodes.Getitem.as_const):
    if isinstance(node.arg, jinja2.nodes.Slice):
        raise jinja2.nodes.Impossible()
    return as_const(node, eval_ctx)


# A slice of a constant that has none, `none[:1]`, is undefined where jinja2 folds constants and an
# error where it does not. It is an error here.
jinja2.nodes.Getitem.as_const = slice_is_not_constant


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True,
        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: NOW.strftime(format)
    return env


def outcome(env, source, variables):
    """("out", text), or ("error", the exception's class)."""
    try:
        # A copy: `a_list|indent` fails only after it has changed the list.
        return "out", env.from_string(source).render(**copy.deepcopy(variables))
    except RecursionError:
        raise
    except Exception as error:  # every class that a template can raise is an outcome
        return "error", type(error).__name__
