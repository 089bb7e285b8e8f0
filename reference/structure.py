#!/usr/bin/env python3
"""What a transformers model does otherwise than others: sources and module trees compared, without weights.

    python3 structure.py MODEL --donor LlamaForCausalLM --donor Phi3ForCausalLM

MODEL is a folder with config.json. Its reference and each donor's are built on torch's meta device, the donor's with those
of MODEL's config values that its config class knows, so that what a config value decides is decided alike on both sides.
Classes are matched by role (attention, MLP, decoder layer, norm, rotary, model, head). What differs is said once for each place:

- modules and parameters that one side alone has, or has of another kind;
- attributes of the same name and another value (a scaling, an epsilon);
- statements of forward() and of what it calls. Names of the family, docstrings, annotations, decorators, dropout, caches,
  masks, warnings and losses are no part of the comparison, and a condition on the module's own attributes is decided as
  this model decides it, unless its layers decide it differently.

Nothing is downloaded, and no code of the repository is run. Prints one JSON document a line: {"event": "progress"|"done"|"error"}.
Needs torch and transformers. Exit status: 0 compared (or `not_compared` says what was not); 2 the model's folder cannot be read.
"""
from __future__ import annotations

import argparse
import ast
import builtins
import difflib
import inspect
import json
import os
import re
import sys
import textwrap
import traceback
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

FEWEST_ALIKE = 0.45  # below, a function is another one, and not the same with changes
MOST_CODE = 240  # characters of code shown for a difference

ROLES = (  # the first whose pattern is found in the class name, family name removed
    ("head", r"ForCausalLM|LMHead|ForConditional"), ("state", r"Mamba|Mixer|Conv|Delta|SSM|Scan"), ("norm", r"Norm"),
    ("attention", r"Attention|Attn"), ("experts", r"Experts?"), ("router", r"Router|Gate$|Gating|TopK"), ("moe", r"Moe|MoE|MOE|Sparse"),
    ("mlp", r"MLP|FeedForward|FFN|GLU"), ("rotary", r"Rotary|Rope"), ("embedding", r"Embedding"), ("layer", r"Layer$|Block$"),
    ("model", r"Model$|Decoder$|Stack$"))
PARTS = {"head": "head", "state": "cache", "norm": "norm", "attention": "attention", "experts": "experts", "router": "experts",
         "moe": "experts", "mlp": "mlp", "rotary": "positions", "embedding": "layer", "layer": "layer", "model": "layer"}
# Arguments and variables that carry no part of the computation from one side to the other.
BOOKKEEPING = {"attention_mask", "position_ids", "past_key_values", "past_key_value", "layer_past", "use_cache", "cache_position", "dropout",
               "training", "output_attentions", "output_hidden_states", "output_router_logits", "return_dict", "device", "head_mask",
               "causal_mask", "past_seen_tokens", "mask_kwargs", "causal_mask_mapping", "labels", "loss", "cache_kwargs", "aux_loss",
               "seq_len", "device_type", "sliding_window_mask", "mask_function", "all_hidden_states", "all_self_attns", "cache_params", "use_reentrant"}
SIDE_RESULTS = {"_", "attn_weights", "self_attn_weights", "attn_weights_reshaped", "present", "present_key_value", "router_logits"}
# What config classes call one thing.
ALIASES = (("num_experts", "num_local_experts", "n_routed_experts"), ("hidden_size", "n_embd", "d_model"), ("hidden_act", "hidden_activation", "activation_function"),
           ("num_hidden_layers", "n_layer", "num_layers"), ("num_attention_heads", "n_head"), ("rms_norm_eps", "norm_eps"), ("layer_norm_eps", "layer_norm_epsilon"))
NO_OPS = {"contiguous", "clone"}


def one_line(error):
    """The last line of what an exception says, with its type."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:300]


def say(**event):
    print(json.dumps(event), flush=True)


def role_of(name):
    return next((role for role, pattern in ROLES if re.search(pattern, name)), None)


def part_of_function(name, owner):
    if re.search(r"rot(ary|ate)|rope", name):
        return "positions"
    if re.search(r"attention|repeat_kv", name):
        return "attention"
    return PARTS.get(owner, "layer")


def collapsed(path):
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path)


class Side:
    """One model: its module tree on the meta device, and the sources of its classes."""

    def __init__(self, model):
        self.model = model
        self.module = inspect.getmodule(type(model))
        self.file = Path(inspect.getsourcefile(type(model)))
        self.instances = {}  # class -> [(path, module)]
        for path, module in model.named_modules():
            self.instances.setdefault(type(module), []).append((path, module))
        own = [c.__name__ for c in self.instances if c.__module__ == self.module.__name__]
        self.family = re.sub(r"(?:Text)?(?:For|LMHead|Pre)$", "", os.path.commonprefix(own)) if len(own) > 1 else ""
        if not self.family:
            self.family = re.sub(r"(For|LMHead|Model).*", "", type(model).__name__)
        self.text = self.file.read_text()

    def plain(self, name):
        """A name without the family's: LlamaRMSNorm -> RMSNorm."""
        for form in (self.family + "Text", self.family, self.family.lower() + "_"):
            name = name.replace(form, "")
        return name

    def classes(self):
        """{class: role} of those written in the model's own file, and of torch's norms."""
        found = {}
        for cls in self.instances:
            if cls.__module__.startswith("transformers.models"):
                name = self.instances[cls][0][0].rsplit(".", 1)[-1]
                found[cls] = name if name in ("experts", "gate", "router") else role_of(self.plain(cls.__name__))
                found[cls] = "router" if found[cls] == "gate" else found[cls]
            elif cls.__name__ in ("LayerNorm", "RMSNorm") and cls.__module__.startswith("torch"):
                found[cls] = "norm"
        return found

    def where(self, function, line=None):
        file = Path(inspect.getsourcefile(function)).name
        return f"{file}:{line if line else inspect.getsourcelines(function)[1]}"

    def keys_behind(self, cls):
        """{attribute: config keys} of what a class assigns from the configuration."""
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
        except (OSError, TypeError, SyntaxError):
            return {}
        found = {}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Assign):
                continue
            keys = set(re.findall(r"config\.(\w+)", ast.unparse(node.value)))
            for target in node.targets:
                if isinstance(target, ast.Attribute) and keys:
                    found.setdefault(target.attr, set()).update(keys)
        return found

    def assignment(self, cls, attribute):
        """file:line of `self.<attribute> =` in the class, else of the class."""
        try:
            lines, first = inspect.getsourcelines(cls)
        except (OSError, TypeError):
            return ""
        for number, line in enumerate(lines):
            if re.match(rf"\s*self\.{re.escape(attribute)}\b[^=]*=[^=]", line):
                return self.where(cls, first + number)
        return self.where(cls, first)


class Plain(ast.NodeTransformer):
    """A function's syntax tree without what is no part of the comparison."""

    def __init__(self, side, instances, first_argument):
        self.side, self.instances, self.first = side, instances, first_argument
        self.copies = {}  # local name -> the name it is a copy of

    # -- what this model decides --

    def decided(self, test):
        """(True, value) where all instances give an expression on `self` one value that is no tensor; else (False, None)."""
        names = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}
        if "self" not in names or names - {"self", "getattr", "hasattr", "len", "isinstance", "int", "any", "all"}:
            return False, None
        scope = {"__builtins__": {n: getattr(builtins, n) for n in ("getattr", "hasattr", "len", "isinstance", "int", "any", "all")}}
        values = []
        for module in self.instances:
            try:
                values.append(eval(compile(ast.Expression(test), "<test>", "eval"), scope, {"self": module}))  # noqa: S307
            except Exception:  # a name that only a run has
                return False, None
        if not values or not all(isinstance(v, (bool, int, float, str, type(None))) for v in values):
            return False, None
        is_one = all(v == values[0] for v in values) or all(bool(v) == bool(values[0]) for v in values) and 1 not in values
        return (True, values[0]) if is_one else (False, None)

    def visit_If(self, node):
        names = {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}
        raw = ast.unparse(node.test)
        if names & BOOKKEEPING or "gradient_checkpointing" in raw or "is_tracing" in raw or "is_compiling" in raw:
            return None
        is_decided, value = self.decided(ast.fix_missing_locations(node.test))
        if is_decided:
            return self.body(node.body if value else node.orelse)
        node.test = self.visit(node.test)
        node.body, node.orelse = self.body(node.body), self.body(node.orelse)
        return node if node.body or node.orelse else None

    def visit_IfExp(self, node):
        is_decided, value = self.decided(ast.fix_missing_locations(node.test))
        if is_decided:
            return self.visit(node.body if value else node.orelse)
        return self.generic_visit(node)

    def body(self, statements):
        result = []
        for statement in statements:
            visited = self.visit(statement)
            result.extend(visited if isinstance(visited, list) else [visited] if visited is not None else [])
        return result

    # -- statements that do not count --

    def visit_Raise(self, node):
        return None

    def visit_Assert(self, node):
        return None

    def visit_Pass(self, node):
        return None

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant):
            return None
        if re.match(r"(logger|warnings|logging)\b", ast.unparse(node.value)):
            return None
        node = self.generic_visit(node)
        return None if isinstance(node.value, ast.Name) else node

    def visit_With(self, node):
        node.body = self.body(node.body)
        return node.body  # autocast, no_grad

    def visit_For(self, node):
        node.target, node.iter, node.body = self.visit(node.target), self.visit(node.iter), self.body(node.body)
        if isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "enumerate" and isinstance(node.target, ast.Tuple):
            counter = node.target.elts[0].id if isinstance(node.target.elts[0], ast.Name) else None
            if counter and not any(isinstance(n, ast.Name) and n.id == counter for s in node.body for n in ast.walk(s)):
                node.iter, node.target = node.iter.args[0], node.target.elts[1]
        if isinstance(node.iter, ast.Subscript) and isinstance(node.iter.slice, ast.Slice) and "num_hidden_layers" in ast.unparse(node.iter.slice):
            node.iter = node.iter.value
        return node if node.body else None

    def visit_AnnAssign(self, node):
        if node.value is None:
            return None
        return self.visit_Assign(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_Assign(self, node):
        targets = [t for target in node.targets for t in (target.elts if isinstance(target, ast.Tuple) else [target])]
        names = {t.id for t in targets if isinstance(t, ast.Name)}
        if len(names) == len(targets) and names <= BOOKKEEPING:
            return None
        node = self.generic_visit(node)
        target = node.targets[0]
        if len(node.targets) == 1 and isinstance(target, ast.Tuple):
            kept = [t for t in target.elts if not (isinstance(t, ast.Name) and t.id in SIDE_RESULTS)]
            if kept and len(kept) < len(target.elts):
                node.targets = [kept[0] if len(kept) == 1 else ast.Tuple(kept, ast.Store())]
                target = node.targets[0]
        if isinstance(target, ast.Name) and isinstance(node.value, ast.Name):
            if target.id == node.value.id:
                return None
        if isinstance(target, ast.Name) and "get_interface" in ast.unparse(node.value):
            self.copies[target.id] = "attention_interface"
            return None
        return node

    def visit_Return(self, node):
        if node.value is None:
            return None
        node = self.generic_visit(node)
        value = node.value
        if isinstance(value, ast.Tuple):
            kept = [e for e in value.elts if not (isinstance(e, ast.Name) and e.id in SIDE_RESULTS | BOOKKEEPING)]
            node.value = kept[0] if len(kept) == 1 else ast.Tuple(kept, ast.Load())
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and re.search(r"Output", value.func.id):
            kept = [k.value for k in value.keywords if k.arg in ("last_hidden_state", "logits")]
            node.value = kept[0] if kept else ast.Name("outputs", ast.Load())
        return node

    # -- expressions --

    def visit_BinOp(self, node):
        """A product with an attribute that is 1 does nothing."""
        for factor, other in ((node.right, node.left), (node.left, node.right)):
            if not isinstance(node.op, (ast.Mult, ast.Div)) or (isinstance(node.op, ast.Div) and factor is node.left):
                continue
            is_decided, value = self.decided(ast.fix_missing_locations(factor))
            if is_decided and not isinstance(value, (bool, str)) and value == 1:
                return self.visit(other)
        return self.generic_visit(node)

    def is_float32_either_way(self, node, method):
        """A cast to float32 of a rotation's frequencies, a float32 buffer, or of the positions they are multiplied with."""
        given = [ast.unparse(a) for a in node.args] + [ast.unparse(k.value) for k in node.keywords if k.arg != "device"]
        casts = method == "float" and not given or method == "to" and given in (["torch.float"], ["torch.float32"])
        return casts and re.search(r"\b(inv_freq|position_ids)", ast.unparse(node.func.value)) is not None

    def visit_Call(self, node):
        function = ast.unparse(node.func)
        last = function.rsplit(".", 1)[-1]
        if re.search(r"(?i)dropout", last) and node.args:
            return self.visit(node.args[0])
        if isinstance(node.func, ast.Attribute) and last in NO_OPS:
            return self.visit(node.func.value)
        if isinstance(node.func, ast.Attribute) and last == "to" and "device" in ast.unparse(node).split("to(")[-1] and "dtype" not in ast.unparse(node).split("to(")[-1]:
            return self.visit(node.func.value)
        if isinstance(node.func, ast.Attribute) and self.is_float32_either_way(node, last):
            return self.visit(node.func.value)
        keywords = []
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in BOOKKEEPING:
                continue
            is_decided, value = self.decided(ast.fix_missing_locations(keyword.value))
            if is_decided and value is None:
                continue
            keywords.append(keyword)
        node.keywords = keywords
        node.args = [a for a in node.args if not (isinstance(a, ast.Name) and a.id in BOOKKEEPING)]
        node = self.generic_visit(node)
        # f(x=x) is f(x)
        same = [k for k in node.keywords if isinstance(k.value, ast.Name) and k.value.id in (k.arg, "x")]
        node.args += [k.value for k in same]
        node.keywords = sorted((k for k in node.keywords if k not in same), key=lambda k: k.arg)
        return node

    def visit_Name(self, node):
        name = self.copies.get(node.id, node.id)
        return ast.copy_location(ast.Name("x" if name == self.first else self.side.plain(name), node.ctx), node)

    def visit_Attribute(self, node):
        node = self.generic_visit(node)
        node.attr = self.side.plain(node.attr)
        return node

    def visit_Constant(self, node):
        return node


def flattened(statements, depth=0):
    """[(text, line)] of statements, what a compound one holds indented below it."""
    lines = []
    for statement in statements:
        inner = [(name, getattr(statement, name)) for name in ("body", "orelse") if isinstance(getattr(statement, name, None), list)]
        if not inner or isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            lines.append(("    " * depth + ast.unparse(ast.fix_missing_locations(statement)), getattr(statement, "lineno", 0)))
            continue
        for name, body in inner:
            if not body:
                continue
            head = "else:" if name == "orelse" else \
                f"for {ast.unparse(statement.target)} in {ast.unparse(statement.iter)}:" if isinstance(statement, ast.For) else \
                f"if {ast.unparse(ast.fix_missing_locations(statement.test))}:" if isinstance(statement, (ast.If, ast.While)) else type(statement).__name__
            lines.append(("    " * depth + head, statement.lineno))
            lines.extend(flattened(body, depth + 1))
    return lines


def joined_return(statements):
    """`y = f(x); return y` is `return f(x)`."""
    if len(statements) < 2 or not isinstance(statements[-1], ast.Return) or not isinstance(statements[-2], ast.Assign):
        return statements
    value, targets = statements[-1].value, statements[-2].targets
    if len(targets) == 1 and value is not None and ast.unparse(targets[0]).strip("()") == ast.unparse(value).strip("()"):
        return [*statements[:-2], ast.copy_location(ast.Return(statements[-2].value), statements[-2])]
    return statements


def renamed(text, names):
    """`text` with each local name replaced as `names` (a function or a dict) says; attributes and keywords stay."""
    get = names if callable(names) else lambda name: names.get(name, name)
    return re.sub(r"(?<![.\w])([A-Za-z_]\w*)(?!\w*=(?!=)\S)", lambda match: get(match.group(1)), text)


def shape_of(text, local):
    """A line with its local names numbered in their order, and those names."""
    order = []

    def number(name):
        if name not in local:
            return name
        if name not in order:
            order.append(name)
        return f"<{order.index(name)}>"

    return renamed(text, number), order


class Function:
    """A function as it is compared: lines of text with their places, and the functions it names."""

    def __init__(self, side, function, instances):
        self.function = inspect.unwrap(function)
        source, self.line = inspect.getsourcelines(self.function)
        self.file = Path(inspect.getsourcefile(self.function)).name
        tree = ast.parse(textwrap.dedent("".join(source))).body[0]
        arguments = [a.arg for a in tree.args.args if a.arg != "self"]
        self.methods = [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "self"]
        namespace = getattr(self.function, "__globals__", {})
        self.called = []
        for node in ast.walk(tree):
            target = namespace.get(node.id) if isinstance(node, ast.Name) else None
            if inspect.isfunction(target) and inspect.unwrap(target).__module__.startswith("transformers.models") and target not in self.called:
                self.called.append(target)
        plain = Plain(side, instances, arguments[0] if arguments else None)
        statements = joined_return(plain.body(tree.body))
        self.lines = [(text, self.line + line - 1) for text, line in flattened(statements)]
        stored = {n.id for s in statements for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        self.locals = stored | set(arguments[1:])
        self.is_method = bool(tree.args.args) and tree.args.args[0].arg == "self"

    def take_names(self, other):
        """Calls local variables what `other` calls them, where lines are alike but for that."""
        mine, theirs = ([shape_of(text, side.locals) for text, _ in side.lines] for side in (self, other))
        matcher = difflib.SequenceMatcher(None, [m for m, _ in mine], [t for t, _ in theirs], autojunk=False)
        names, taken = {}, set()
        for i, j, size in matcher.get_matching_blocks():
            for k in range(size):
                for a, b in zip(mine[i + k][1], theirs[j + k][1]):
                    if a not in names and b not in taken:
                        names[a] = b
                        taken.add(b)
        # A name that is kept must not be taken by another.
        swapped = {a: b for a, b in names.items() if a != b}
        spare = {b: f"{b}_" for b in swapped.values() if b in self.locals and b not in names}
        self.lines = [(renamed(text, {**spare, **swapped}), line) for text, line in self.lines]

    def place(self, index):
        """file:line of a line, of the one before where there is none."""
        if not self.lines:
            return f"{self.file}:{self.line}"
        return f"{self.file}:{self.lines[min(index, len(self.lines) - 1)][1]}"

    def code(self, begin, end):
        text = "; ".join(line.strip() for line, _ in self.lines[begin:end])
        return text if len(text) <= MOST_CODE else text[:MOST_CODE - 3] + "..."


def difference(part, where, reference, donor, change, names=(), tensors=()):
    return {"part": part, "where": where, "reference": reference, "donor": donor, "change": change, "names": sorted(set(names)),
            "tensors": sorted(set(tensors))}


def merged(differences):
    """Differences about the same tensors, or about the same members of the same part, as one each, in their order."""
    groups = []
    for new in differences:
        anchors = {*new["tensors"], *new.pop("anchors", ())}
        met = [g for g in groups if g[0] & anchors]
        for group in met[1:]:
            met[0][0].update(group[0])
            met[0][1].extend(group[1])
            groups.remove(group)
        if met:
            met[0][0].update(anchors)
            met[0][1].append(new)
        else:
            groups.append((anchors, [new]))
    result = []
    for _, members in groups:
        first = members[0]
        for other in members[1:]:
            first["names"] = sorted({*first["names"], *other["names"]})
            first["tensors"] = sorted({*first["tensors"], *other["tensors"]})
            first["where"] = first["where"] or other["where"]
            for key in ("reference", "donor"):
                if other[key] not in first[key] and len(first[key]) < 2 * MOST_CODE:
                    first[key] += "; " + other[key]
        if len({m["change"] for m in members}) > 1:
            first["change"] = "do as the reference does"
        result.append(first)
    return result


def identifiers(text):
    return set(re.findall(r"(?:self|config)\.(?:config\.)?(\w+)", text))


class Comparison:
    def __init__(self, reference, donor):
        self.reference, self.donor = reference, donor
        self.differences, self.not_compared = [], []
        self.matches = {}  # class -> the donor's
        self.seen = set()  # pairs of functions

    def add(self, *args, anchors=(), **kwargs):
        found = {**difference(*args, **kwargs), "anchors": sorted(set(anchors))}
        if found not in self.differences:
            self.differences.append(found)

    def run(self):
        own, others = self.reference.classes(), self.donor.classes()
        for exact in (True, False):
            for cls, role in own.items():
                match = None if cls in self.matches else self.counterpart(cls, role, others, exact)
                if match is not None:
                    self.matches[cls] = match
        for cls, role in own.items():
            match = self.matches.get(cls)
            if match is None:
                if role is not None:
                    self.missing_class(cls, role)
                continue
            try:
                self.compare_classes(cls, match, role)
            except Exception as error:  # one class that cannot be read leaves the others
                self.not_compared.append(f"{cls.__name__} against {match.__name__}: {one_line(error)}")
        for cls, role in others.items():
            if cls in self.matches.values() or role not in ("attention", "experts", "router", "moe", "mlp", "state", "rotary"):
                continue
            if role not in own.values():
                name = self.donor.instances[cls][0][0].rsplit(".", 1)[-1]
                self.add(PARTS[role], self.reference.where(type(self.reference.model)), f"has no class for {role}",
                         f"has {cls.__name__} ({self.donor.where(cls)})", "leave it out", names=[name],
                         tensors=self.tensors(self.donor, self.donor.instances[cls]))
        self.differences = merged(self.differences)
        return self

    def counterpart(self, cls, role, others, exact):
        """The donor's class of the same name, family's names aside; else (not exact) one of the same role."""
        plain, taken = self.reference.plain(cls.__name__), set(self.matches.values())
        free = {o: r for o, r in others.items() if o not in taken}
        if exact:
            return next((o for o in free if self.donor.plain(o.__name__) == plain), None)
        return next((o for o, r in free.items() if r == role and role is not None), None)

    def missing_class(self, cls, role):
        instances = self.reference.instances[cls]
        name = collapsed(instances[0][0]).rsplit(".", 1)[-1]
        self.add(PARTS[role], self.reference.where(cls) if cls.__module__.startswith("transformers") else "",
                 f"has {cls.__name__} at {collapsed(instances[0][0])}", "has no such class", "write it as the reference's",
                 names=[name], tensors=self.tensors(self.reference, instances))

    @staticmethod
    def tensors(side, instances):
        return {collapsed(f"{path}.{name}") for path, module in instances[:64] for name, _ in module.named_parameters()}

    def compare_classes(self, cls, other, role):
        part = PARTS.get(role, "layer")
        is_torch = cls.__module__.startswith("torch"), other.__module__.startswith("torch")
        if cls is other:
            return
        if any(is_torch):
            path = collapsed(self.reference.instances[cls][0][0])
            owner, _, name = self.reference.instances[cls][0][0].rpartition(".")
            self.add(part, self.reference.assignment(type(self.reference.model.get_submodule(owner)), name),
                     f"{path} is {cls.__module__.split('.')[0]}'s {cls.__name__}", f"is {other.__name__}", "take the reference's kind of norm", names=[name], anchors=["kind of norm"])
            return
        self.compare_values(cls, other, part)
        self.compare_children(cls, other)
        mine, theirs = [m for _, m in self.reference.instances[cls]], [m for _, m in self.donor.instances[other]]
        self.compare_functions(cls.forward, other.forward, mine, theirs, f"{cls.__name__}.forward", role, (cls, other))

    # -- modules, parameters, values --

    def compare_children(self, cls, other):
        mine, theirs = self.members(self.reference, cls), self.members(self.donor, other)
        for name in dict.fromkeys([*mine, *theirs]):
            kind, tensors, types = mine.get(name, (None, set(), set()))
            their_kind, their_tensors, their_types = theirs.get(name, (None, set(), set()))
            is_match = any(self.matches.get(t) in their_types for t in types)
            if kind == their_kind or is_match or not tensors | their_tensors:
                continue
            place = self.reference.assignment(cls, name)
            their_place = self.donor.assignment(other, name)
            part = self.part_of_member(name, *((cls, self.reference) if name in mine else (other, self.donor)))
            if name not in theirs:
                texts = f"{cls.__name__} has {name} ({kind})", f"{other.__name__} has none", "add it"
            elif name not in mine:
                texts = f"{cls.__name__} has no {name}", f"{other.__name__} has {name} ({their_kind}; {their_place})", "leave it out"
            else:
                texts = f"{cls.__name__}.{name} is {kind}", f"is {their_kind} ({their_place})", "take the reference's"
            # Where both have it, what one side alone stores is what differs.
            differing = tensors ^ their_tensors if name in mine and name in theirs else tensors | their_tensors
            self.add(part, place, *texts, names=[name], anchors=[f"{cls.__name__}.{name}"], tensors=differing or tensors)

    def part_of_member(self, name, cls, side):
        role = role_of(side.plain(cls.__name__))
        return "norm" if role == "layer" and "norm" in name else PARTS.get(role, "layer")

    @staticmethod
    def members(side, cls):
        """{name: (kind, tensors, types)} of the modules and parameters that any instance of a class has."""
        found = {}
        for path, module in side.instances[cls]:
            for name, child in module.named_children():
                kind = type(child).__name__
                if kind in ("Linear", "Conv1D"):
                    kind += " with bias" if getattr(child, "bias", None) is not None else " without bias"
                tensors = {collapsed(f"{path}.{name}.{p}".lstrip(".")) for p, _ in child.named_parameters()} if kind != "ModuleList" else set()
                entry = found.setdefault(name, (side.plain(kind), set(), set()))
                entry[1].update(tensors)
                entry[2].add(type(child))
            for name, parameter in module.named_parameters(recurse=False):
                entry = found.setdefault(name, (f"parameter of {parameter.dim()} dimensions", set(), set()))
                entry[1].add(collapsed(f"{path}.{name}".lstrip(".")))
        return found

    def compare_values(self, cls, other, part):
        def values(module):
            return {n: v for n, v in vars(module).items() if isinstance(v, (bool, int, float, str, type(None))) and not n.startswith("_")}

        mine, theirs = values(self.reference.instances[cls][0][1]), values(self.donor.instances[other][0][1])
        read = set(re.findall(r"self\.(\w+)", inspect.getsource(cls.forward) if hasattr(cls, "forward") else ""))
        ignored = r"(?i)dropout|layer_type|attention_type|layer_idx|^training$|vocab_size|padding_idx|_cached|max_seq"
        names = [n for n in sorted(set(mine) & set(theirs) & read) if mine[n] != theirs[n] and not re.search(ignored, n)]
        if not names:
            return
        keys = set().union(*(self.reference.keys_behind(cls).get(n, set()) for n in names))
        self.add(part, self.reference.assignment(cls, names[0]), f"{cls.__name__}: " + ", ".join(f"{n} is {mine[n]}" for n in names),
                 ", ".join(f"{n} is {theirs[n]}" for n in names) + f" ({self.donor.assignment(other, names[0])})",
                 "compute it as the reference does", names={*names, *keys})

    # -- sources --

    def compare_functions(self, function, other, mine, theirs, title, role, owners=None):
        pair = (inspect.unwrap(function), inspect.unwrap(other))
        if pair in self.seen or pair[0] is pair[1]:
            return
        self.seen.add(pair)
        try:
            a, b = Function(self.reference, function, mine), Function(self.donor, other, theirs)
        except (OSError, SyntaxError, TypeError) as error:
            self.not_compared.append(f"{title}: {one_line(error)}")
            return
        part = part_of_function(title.rsplit(".", 1)[-1], role)
        behind = {**self.donor.keys_behind(owners[1]), **self.reference.keys_behind(owners[0])} if owners else {}
        members = {*self.members(self.reference, owners[0]), *self.members(self.donor, owners[1])} if owners else set()
        self.compare_lines(a, b, title, part, behind, members)
        functions = {self.donor.plain(f.__name__): f for f in b.called}
        for called in a.called:
            name = self.reference.plain(called.__name__)
            if name in functions:
                self.compare_functions(called, functions[name], mine, theirs, called.__name__, role)
        if owners:
            for name in dict.fromkeys(a.methods):
                pair = [getattr(o, name, None) for o in owners]
                if all(inspect.isfunction(f) and f.__module__.startswith("transformers.models") for f in pair):
                    self.compare_functions(*pair, mine, theirs, f"{owners[0].__name__}.{name}", role, owners)

    def compare_lines(self, a, b, title, part, behind, members):
        b.take_names(a)
        texts = [[t for t, _ in side.lines] for side in (a, b)]
        matcher = difflib.SequenceMatcher(None, *texts, autojunk=False)
        # Functions that are no methods serve one purpose together: a rotation, attention.
        shared = [] if a.is_method else [f"functions of {part}"]
        owner = title.split(".")[0]

        def note(where, reference, donor, change, text):
            names = identifiers(text)
            keys = set().union(*(behind.get(n, set()) for n in names)) if names else set()
            self.add(part, where, reference, donor, change, names=names | keys, anchors=[*(f"{owner}.{n}" for n in names & members), *shared])

        opcodes = [code for code in matcher.get_opcodes() if code[0] != "equal"]
        if len(opcodes) > 1 and len(texts[0]) > 3 and matcher.ratio() < FEWEST_ALIKE:
            own = "; ".join(a.code(i, j) for _, i, j, _, _ in opcodes if j > i)[:MOST_CODE]
            other = "; ".join(b.code(k, m) for _, _, _, k, m in opcodes if m > k)[:MOST_CODE]
            note(a.place(opcodes[0][1]), f"{title} is another computation: {own}", f"{other} ({b.place(opcodes[0][3])})",
                 "write it as the reference's", " ".join(t for _, i, j, _, _ in opcodes for t in texts[0][i:j]))
            return
        for _, i, j, k, m in opcodes:
            theirs = f"{b.code(k, m)} ({b.place(k)})" if m > k else "does nothing there"
            mine = f"{title}: {a.code(i, j)}" if j > i else f"{title} does without"
            change = "add it" if m == k else "leave it out" if j == i else "do as the reference does"
            note(a.place(i), mine, theirs, change, " ".join(texts[0][i:j] + texts[1][k:m]))


# -- building --


def load_config(transformers, folder):
    raw = json.loads((Path(folder) / "config.json").read_text())
    return raw, transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def build(torch, cls, config):
    config._attn_implementation = "eager"
    with torch.device("meta"):
        return cls(config).eval()


def class_of(transformers, name):
    cls = getattr(transformers, name, None)
    if cls is None or getattr(cls, "config_class", None) is None:
        raise LookupError(f"transformers {transformers.__version__} has no class {name}")
    return cls


def donor_config(cls, config, layers):
    """The donor's config with this model's values where its class has such a key; else its own, of as many layers."""
    theirs = cls.config_class()
    known = set(vars(theirs)) | {"rope_parameters"}
    drop = ("architectures", "transformers_version", "model_type", "dtype", "torch_dtype", "_name_or_path")
    mine = config.to_dict()
    for key in known - set(mine):
        mine.update({key: mine[other] for names in ALIASES if key in names for other in names if other in mine})
    values = {k: v for k, v in mine.items() if k in known and k not in drop and not k.startswith("_")}
    # What this model's class has no word for it does not do.
    absent = {k: None for k in known - set(values) if re.search(r"^sliding_window$|softcapping$", k)}
    return [{**values, **absent}, values, {k: v for k, v in values.items() if v is not None}, {"num_hidden_layers": layers}, {}]


def build_donor(torch, cls, config):
    error = None
    for values in donor_config(cls, config, getattr(config, "num_hidden_layers", 2)):
        try:
            return build(torch, cls, cls.config_class(**values))
        except Exception as caught:  # with fewer of them, then
            error = caught
    raise error


def text_root(model):
    """The part of a model that reads text: a wrapper's language model."""
    for path in ("language_model", "model.language_model"):
        try:
            return model.get_submodule(path)
        except AttributeError:
            continue
    return model


def call_order(torch, model):
    """The modules in the order of their first calls, layers collapsed; and why it is not whole, or ""."""
    order, handles, experts = {}, [], []

    def called(path):
        order.setdefault(path)

    for path, module in model.named_modules():
        if path.endswith(".experts"):  # which experts a token goes to is a matter of values, which meta tensors have not
            experts.append(module)
            module.forward = lambda x, *args, **kwargs: x
        handles.append(module.register_forward_pre_hook(lambda m, a, p=collapsed(path): called(p)))
    why = ""
    try:
        # A mask that is whole is taken as it is: making one reads values, which meta tensors have not. Some take none of that kind.
        for mask in ({"attention_mask": torch.zeros((1, 1, 4, 4), device="meta")}, {}):
            order.clear()
            try:
                with torch.no_grad():
                    model(torch.zeros((1, 4), dtype=torch.long, device="meta"), use_cache=False, **mask)
                return list(order), ""
            except Exception as error:
                why = why or one_line(error)
        return list(order), why
    finally:
        for handle in handles:
            handle.remove()
        for module in experts:
            del module.forward


def compare_order(comparison, own, other):
    """A layer whose modules are called in another order, where its source did not say so."""
    if any(d["part"] in ("layer", "norm") and ".forward" in d["reference"] for d in comparison.differences):
        return
    both = [p for p in own if p in other]
    theirs = [p for p in other if p in own]
    if both != theirs:
        at = next(i for i, (a, b) in enumerate(zip(both, theirs)) if a != b)
        comparison.add("layer", comparison.reference.where(type(comparison.reference.model)), f"calls {both[at]} there", f"calls {theirs[at]} first",
                       "call them in the reference's order")


def key_places(side, raw):
    """{key: file:line} of the keys of config.json that the model's own file names."""
    lines = side.text.splitlines()
    places = {}
    for key in raw:
        pattern = re.compile(rf"config\.{re.escape(key)}\b|[\"']{re.escape(key)}[\"']")
        line = next((n for n, text in enumerate(lines, 1) if pattern.search(text)), None)
        if line:
            places[key] = f"{side.file.name}:{line}"
    return places


def unread_keys(transformers, side, raw):
    """Keys that neither the model's file nor the library's own parts name."""
    folder = Path(transformers.__file__).parent
    text = side.text
    for name in ("masking_utils.py", "modeling_rope_utils.py", "cache_utils.py", "modeling_utils.py", "configuration_utils.py"):
        if (folder / name).exists():
            text += (folder / name).read_text()
    mapped = getattr(type(side.model.config), "attribute_map", {})
    return [k for k in raw if not re.search(rf"\b{re.escape(k)}\b", text) and k not in mapped.values() and k not in mapped]


def compare(folder, class_name, donors):
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    result = {"transformers": transformers.__version__, "torch": torch.__version__, "file": "", "not_compared": [], "keys": {}, "unread": [], "donors": {}}
    try:
        raw, config = load_config(transformers, folder)
        cls = class_of(transformers, class_name or raw["architectures"][0])
        say(event="progress", message=f"building {cls.__name__}")
        model = text_root(build(torch, cls, config))
        reference = Side(model)
    except Exception as error:
        result["not_compared"].append(f"the reference's sources: {one_line(error)}")
        return result
    config = model.config
    result["file"] = str(reference.file)
    result["keys"] = key_places(reference, config.to_dict())
    result["unread"] = unread_keys(transformers, reference, raw)
    order, why = call_order(torch, model)
    for name in donors:
        say(event="progress", message=f"comparing with {name}")
        try:
            donor_model = build_donor(torch, class_of(transformers, name), config)
            comparison = Comparison(reference, Side(donor_model if model is reference.model and hasattr(model, "lm_head") else text_root(donor_model))).run()
            other, other_why = call_order(torch, donor_model)
            if why or other_why:
                comparison.not_compared.append(f"the order of calls: {why or other_why}")
            else:
                compare_order(comparison, order, other)
            result["donors"][name] = {"differences": comparison.differences, "not_compared": comparison.not_compared}
        except Exception as error:
            result["donors"][name] = {"differences": [], "not_compared": [f"{name}: {one_line(error)}"], "failed": True}
    return result


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--class-name", default="", help="of the model; default: architectures[0]")
    parser.add_argument("--donor", action="append", default=[], metavar="CLASS")
    args = parser.parse_args(argv)
    if not (Path(args.model) / "config.json").is_file():
        say(event="error", message=f"{args.model}: expected a folder with config.json, found none")
        return 2
    try:
        say(event="done", **compare(args.model, args.class_name, args.donor))
        return 0
    except Exception:  # nothing of a stranger's model may end in a traceback on stdout
        traceback.print_exc()
        say(event="error", message=one_line(sys.exc_info()[1]))
        return 2


if __name__ == "__main__":
    sys.exit(main())
