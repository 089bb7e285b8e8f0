#!/usr/bin/env python3
"""Records what a transformers model computes, tensor by tensor, as the reference that a port is judged by.

    python3 record.py MODEL --output DIR                       float32 and bfloat16, three prompts, every module
    python3 record.py MODEL --output DIR --detail --steps 4    inputs, q/k/v, scores; four decode steps
    python3 record.py --self-test                              is this Python environment to be believed?

    from record import load_model, record
    record(load_model("path/to/model", "float32", "eager"), [[1, 2, 3, 4]], "out")

Needs torch, transformers and safetensors, nothing else; copy this one file where they are. The dump's format is
described in docs/dump-format.md. Exit status: 0 recorded; 2 refused (every refusal says what to do about it).
"""
from __future__ import annotations

import argparse
import contextlib
import fnmatch
import functools
import hashlib
import inspect
import json
import logging
import math
import os
import platform
import re
import shutil
import sys
import traceback
from collections import Counter
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
try:
    import torch
    import transformers
    from safetensors import safe_open
    from safetensors.torch import save_file
    from torch.overrides import TorchFunctionMode
except ImportError as error:
    print(f"record.py: {error}. Do: run it with a Python that has torch, transformers and safetensors "
          "(lockstep reference --python PATH)", file=sys.stderr)
    sys.exit(2)

FORMAT_VERSION = 1
SHARD_BYTES = 2_000_000_000
GREEDY_TOKENS = 48  # greedy tokens recorded for each prompt
SANITY_TOKENS = 64  # greedy tokens generated to see whether the reference is coherent
DTYPES = ("float32", "bfloat16", "float16", "float64")
FLOAT32_LIMIT = 3e-6  # relative L2 that two sound float32 runs of a small model stay within
NEUTRAL = {"repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0,
           "min_length": 0, "min_new_tokens": None, "bad_words_ids": None, "suppress_tokens": None,
           "begin_suppress_tokens": None, "forced_bos_token_id": None, "forced_eos_token_id": None, "num_beams": 1,
           "sequence_bias": None, "exponential_decay_length_penalty": None, "guidance_scale": None, "do_sample": False}

# Prose, code and figures, each more than 64 tokens in any vocabulary: one kind of text alone gives too narrow a noise floor.
PROMPTS = (
    "The old lighthouse stood at the end of a narrow road, and every evening its keeper climbed the ninety steps to light the "
    "lamp. One winter a ship lost its way in the fog. The keeper heard the bell long before he saw the hull, and he rang his own "
    "in answer, three strokes and a pause, until the captain understood and turned back towards the open sea. Years later a letter "
    "came from a city far away. It said only that the captain's daughter was learning to read, and that the first word she",
    "def merge(left, right):\n    \"\"\"Merges two sorted lists into one.\"\"\"\n    result, i, j = [], 0, 0\n"
    "    while i < len(left) and j < len(right):\n        if left[i] <= right[j]:\n            result.append(left[i])\n"
    "            i += 1\n        else:\n            result.append(right[j])\n            j += 1\n"
    "    result.extend(left[i:])\n    result.extend(right[j:])\n    return result\n\n\ndef merge_sort(values):\n    if len(values) <",
    "Question: A train leaves at 9:45 with 128 passengers. At the first stop 37 get off and 52 get on; at the second, 19 get off "
    "and 6 get on. Each ticket costs 4.50. How many people are on board after the second stop, and what was paid in all?\n"
    "Answer: First 128 - 37 = 91, then 91 + 52 = 143. After the second stop it is 143 - 19 + 6 = 130. The number of tickets is "
    "128 + 52 + 6 = 186, so the passengers paid 186 x 4.50 =",
)
COHERENCE_PROMPT = "Tell me about the city of Paris in a few sentences."


class Refusal(Exception):
    """The reference is not recorded: which file and key, what was expected, what was found, what to do."""

    def __init__(self, file, key, expected, found, todo):
        self.fields = {"file": str(file), "key": str(key), "expected": str(expected), "found": str(found), "do": str(todo)}
        super().__init__(f"{file}: {key}: expected {expected}, found {found}. Do: {todo}")


class Progress:
    """Lines on stderr: one JSON object each for a front end, else plain text. Keeps the warnings for the manifest."""

    def __init__(self, as_json=False, quiet=False):
        self.as_json, self.quiet, self.warnings = as_json, quiet, []

    def event(self, kind, text, **fields):
        if self.as_json:
            print(json.dumps({"event": kind, "message": text, **fields}), file=sys.stderr, flush=True)
        elif not self.quiet:
            print(f"{kind}: {text}", file=sys.stderr, flush=True)

    def warn(self, text):
        if text not in self.warnings:
            self.warnings.append(text)
            self.event("warning", text)


# ---- the dump on disk ----------------------------------------------------------------------------------------------


class DumpWriter:
    """Writes manifest.json and tensor shards into a temporary folder that takes the final name only when complete."""

    def __init__(self, out):
        self.out = Path(out)
        if self.out.exists() and not (self.out / "manifest.json").exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise Refusal(out, "--output", "a new folder, or an earlier dump to replace", "something else",
                          "name another folder")
        self.folder = self.out.with_name(f"{self.out.name}.partial-{os.getpid()}")
        shutil.rmtree(self.folder, ignore_errors=True)  # of a killed process that had this one's number
        self.folder.mkdir(parents=True)
        self.pending, self.pending_bytes, self.shards, self.total_bytes = {}, 0, [], 0
        self.known = {}  # (digest, shape, dtype) of each tensor of the current run -> its name; cleared between runs

    def add(self, name, tensor):
        """Stores a tensor (copied at once: modules may overwrite it in place later) and returns (name, shape, dtype). A
        tensor that this run already holds, bit for bit, is referred to by its first name instead: that is how an input
        points at the output it is, also through views and modules that only pass it on."""
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor)
        if tensor.dtype == torch.int64:
            tensor = tensor.to(torch.int32)
        tensor = tensor.detach().to("cpu", copy=True).contiguous()
        content = hashlib.blake2b(tensor.reshape(-1).view(torch.uint8).numpy()).digest(), tensor.shape, tensor.dtype
        if content in self.known:
            name = self.known[content]
        else:
            self.known[content] = name
            self.pending[name] = tensor
            self.pending_bytes += tensor.nbytes
            self.total_bytes += tensor.nbytes
            if self.pending_bytes >= SHARD_BYTES:
                self.flush()
        return name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")

    def flush(self):
        if self.pending or not self.shards:
            self.shards.append(self.folder / f"shard-{len(self.shards)}")
            save_file(self.pending, self.shards[-1])
        self.pending, self.pending_bytes = {}, 0

    def finish(self, manifest):
        self.flush()
        count = len(self.shards)
        names = ["tensors.safetensors"] if count == 1 else [
            f"tensors-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
        for shard, name in zip(self.shards, names):
            shard.rename(self.folder / name)
        manifest["files"] = names
        (self.folder / "manifest.json").write_text(json.dumps(manifest, indent=1, allow_nan=False), encoding="utf-8")
        old = self.out.with_name(f"{self.out.name}.replaced-{os.getpid()}")
        if self.out.exists():
            self.out.rename(old)
        self.folder.rename(self.out)
        shutil.rmtree(old, ignore_errors=True)

    def discard(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Dump:
    """Reads a dump: `manifest`, and tensors by name."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        self.files, self.where = [], {}
        for name in self.manifest["files"]:
            self.files.append(safe_open(self.folder / name, "pt"))
            self.where.update({key: self.files[-1] for key in self.files[-1].keys()})

    def __getitem__(self, name):
        return self.where[name].get_tensor(name)


# ---- where the taps are --------------------------------------------------------------------------------------------


class Layout:
    """What is fixed about a model: which modules are tapped, which are experts, attentions or mixers, and on which axis of
    their tensors the tokens lie (probed with two prompt lengths, so that no size is mistaken for another)."""

    def __init__(self, model):
        self.modules = {path: module for path, module in model.named_modules() if path}
        self.path_of = {module: path for path, module in self.modules.items()}
        self.moe, self.dispatch = {}, []  # experts block -> shape of its router's weight; prefixes of paths inside a dispatch
        for path, module in self.modules.items():
            children = dict(module.named_children())
            router = children.get("gate") or children.get("router")
            rest = [n for n in children if n in ("experts", "input_linear", "output_linear", "activation")]
            if router is None or not ("experts" in rest or "input_linear" in rest):
                continue
            weight = getattr(router, "weight", None)
            weight = next((p for p in router.parameters() if p.dim() == 2), None) if weight is None else weight
            if weight is None:
                continue
            self.moe[path] = tuple(weight.shape)
            if "experts" in rest:
                self.dispatch.append(f"{path}.experts.")
            else:  # the rows inside are tokens sorted by expert, in no order that a port must share
                self.dispatch += [f"{path}.{name}" for name in rest]
        self.tapped, self.in_dispatch, self.left_out = {}, [], []
        for path, module in self.modules.items():
            kind = type(module).__name__
            if "Dropout" in kind or kind == "Identity":
                self.left_out.append(path)
            elif path.startswith(tuple(self.dispatch)):
                self.in_dispatch.append(path)
            elif type(module).forward is not torch.nn.Module.forward:  # not a mere container
                self.tapped[path] = module
        self.kinds = dict.fromkeys(self.moe, "moe")
        for path, module in self.tapped.items():
            if re.search(r"Attention|Attn", type(module).__name__):
                self.kinds[path] = "attention"
            elif re.search(r"Mixer|ShortConv|DeltaNet|Mamba2?$", type(module).__name__):
                self.kinds[path] = "mixer"
        self.by_layer = {}  # layer index -> path of its innermost module that knows the index: where caches and states belong
        for path, module in self.modules.items():
            if isinstance(getattr(module, "layer_idx", None), int):
                self.by_layer[module.layer_idx] = path
        count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
        self.stack = next((p for p, m in self.modules.items() if isinstance(m, torch.nn.ModuleList) and len(m) == count), None)
        self.token_axis, self.repeated = {}, set()
        self.signatures = {path: inspect.signature(module.forward) for path, module in self.tapped.items()}

    def probe(self, session, ids):
        shapes = []
        for length in (5, 7):
            taps = Taps(session.model, self, None, "", length, "*", detail=True, states=False)
            with taps:
                session.start((list(ids) * 7)[:length])
            shapes.append(taps.shapes)
            self.repeated |= {path for path, calls in taps.calls.items() if calls > 1}
        for key, short in shapes[0].items():
            long = shapes[1].get(key, ())
            moved = [i for i, (a, b) in enumerate(zip(short, long)) if a != b]
            if len(short) == len(long) and len(moved) == 1:
                axis = moved[0]
                self.token_axis[key] = (len(short), axis, (long[axis] - short[axis]) // 2)

    def layer_of(self, path):
        match = re.match(re.escape(self.stack) + r"\.(\d+)(?:[./]|$)", path) if self.stack else None
        return int(match.group(1)) if match else None


def tensors_in(value):
    """The tensors of an argument or result: itself, or the elements of a tuple, list or ModelOutput, in order."""
    if isinstance(value, torch.Tensor):
        return [("", value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [(f".{i}", item) for i, item in enumerate(value) if isinstance(item, torch.Tensor)]
    return []


class Frame:
    """What was seen so far inside one call of an attention, an experts block or a mixer."""

    q = k = v = mask = scores = probs = context = None  # attention
    product = sum = softmax_in = None  # attention: the last matrix product and addition before the softmax
    logits = ids = weights = None  # experts
    step_size = None  # mixer

    def __init__(self, path, kind, interface=False):
        self.path, self.kind, self.interface = path, kind, interface


class Watch(TorchFunctionMode):
    """Sees every torch function that runs inside the model, for what no module or interface shows: the scores before the
    mask, the q, k and v of families with their own attention code, routing done in a block's own forward, step sizes."""

    def __init__(self, taps):
        super().__init__()
        self.taps = taps

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if self.taps.frames:
            self.taps.seen(getattr(func, "__name__", ""), args, kwargs, out)
        return out


class Taps:
    """The taps of one forward pass: hooks on while entered, their tensors written to the dump in order of execution."""

    def __init__(self, model, layout, dump, run_id, n_tokens, glob, detail, states, layers=None):
        self.model, self.layout, self.dump, self.run_id, self.n_tokens = model, layout, dump, run_id, n_tokens
        self.glob, self.detail, self.states, self.layers = glob, detail, states, layers
        self.taps, self.shapes, self.labels = [], {}, set()
        self.calls, self.stack, self.frames = Counter(), [], []
        self.masks, self.positions, self.arguments, self.non_finite = [], None, {}, None

    # - installing -
    def __enter__(self):
        self.undo = contextlib.ExitStack()
        if self.glob == "":
            return self
        for path, module in self.layout.tapped.items():
            cls = type(module).__name__
            for handle in (module.register_forward_pre_hook(functools.partial(self.enter, path, cls), with_kwargs=True),
                           module.register_forward_hook(functools.partial(self.leave, path, cls), with_kwargs=True)):
                self.undo.callback(handle.remove)
        if self.detail or self.states or self.layout.moe:  # which experts were chosen is always told
            self.patch_functions()
            self.undo.enter_context(Watch(self))
        return self

    def __exit__(self, *exc):
        self.undo.close()
        if exc[0] is None:
            for tap in self.taps:
                if self.calls[tap["path"]] > 1:
                    tap["args"] = self.arguments.get((tap["path"], tap["call"]), {})

    def patch_functions(self):
        files = {sys.modules[type(m).__module__] for m in self.model.modules() if type(m).__module__ in sys.modules}
        interfaces = {}
        for file in files:
            for name, original in list(vars(file).items()):
                rotary = name.startswith("apply_rotary") and callable(original)
                if name == "eager_attention_forward" or rotary and "k" in "".join(list(inspect.signature(original).parameters)[1:2]):
                    setattr(file, name, functools.partial(self.rotate if rotary else self.attend, original))
                    self.undo.callback(setattr, file, name, original)
            table = getattr(file, "ALL_ATTENTION_FUNCTIONS", None)
            if table is not None and "sdpa" in table:
                interfaces[id(table)] = table
        for table in interfaces.values():
            original = table["sdpa"]
            table["sdpa"] = functools.partial(self.attend, original)
            self.undo.callback(table.__setitem__, "sdpa", original)
        for path, module in self.layout.tapped.items():
            for name in ("chunk_gated_delta_rule", "recurrent_gated_delta_rule"):
                if callable(vars(module).get(name)):
                    original = vars(module)[name]
                    setattr(module, name, functools.partial(self.delta_rule, path, original))
                    self.undo.callback(setattr, module, name, original)

    # - writing -
    def emit(self, path, cls, role, tensor, name=None, index=0, call=0, ready=False):
        """Writes one tap. `ready`: the tensor already lies as it should; else its token axis is moved to the front."""
        if self.dump is None:  # only looking
            self.shapes[path, role, index] = tuple(tensor.shape)
            if role == "output" and "/" not in path and self.non_finite is None and not torch.isfinite(tensor).all():
                self.non_finite = path
            return
        if not path.startswith("@") and not (fnmatch.fnmatchcase(path, self.glob) and self.wanted(path)):
            return
        tensor = tensor if ready else self.token_major(path, cls, role, index, tensor)
        label = f"{self.run_id}/{path}" + (f"#{call}" if call else "") + f":{role}" + (f".{index}" if index else "")
        if label in self.labels:  # a functional value may come by twice in one call: the first is the outermost
            return
        self.labels.add(label)
        stored, shape, dtype = self.dump.add(label, tensor)
        self.taps.append({"path": path, "class": cls, "role": role, "name": name, "index": index, "call": call,
                          "tensor": stored, "shape": shape, "stored_dtype": dtype})

    def wanted(self, path):
        """Under --layers A:B: layers A to B, what comes before the layers, and what comes after them if none is missing."""
        if not self.layers:
            return True
        layer = self.layout.layer_of(path)
        if layer is not None:
            return self.layers[0] <= layer < self.layers[1]
        return not getattr(self.model, "lockstep_cut", False) or not self.calls[f"{self.layout.stack}.{self.layers[1] - 1}"]

    def token_major(self, path, cls, role, index, tensor):
        ndim, axis, per_token = self.layout.token_axis.get((path, role, index), (None, None, None))
        if ndim and self.n_tokens == 1 and (ndim != tensor.dim() or tensor.shape[axis] != per_token):
            return tensor  # single steps have shortcuts of their own: no token axis, and the batch of one stands for it
        if ndim != tensor.dim():
            return tensor[0] if tensor.dim() >= 3 and tensor.shape[0] == 1 else tensor
        if axis > 0:
            batch = tensor.shape[0] == 1
            tensor = tensor.movedim(axis, 0)
            tensor = tensor.squeeze(1) if batch else tensor
        # a causal convolution pads on both sides and its caller drops what is past the last token
        return tensor[:self.n_tokens] if cls == "Conv1d" and role == "output" else tensor

    def functional(self, path, name, tensor, ready=True):
        """A tap below the module whose call is under way (or was the last)."""
        cls = type(self.layout.modules[path]).__name__
        self.emit(f"{path}/{name}", cls, "output", tensor, call=max(self.calls[path] - 1, 0), ready=ready)

    # - modules -
    def enter(self, path, cls, module, args, kwargs):
        call = self.calls[path]
        self.calls[path] += 1
        self.stack.append(path)
        if path in self.layout.kinds:
            self.frames.append(Frame(path, self.layout.kinds[path]))
        arguments = self.bind(path, args, kwargs)
        if self.positions is None:
            self.positions = next((v for k, v in arguments if k == "position_ids" and isinstance(v, torch.Tensor)), None)
        frame = self.frames[-1] if self.frames else None
        if frame and frame.kind == "moe" and path == f"{frame.path}.experts":
            given = [v for _, v in arguments[1:] if isinstance(v, torch.Tensor)]
            ids = next((v for v in given if not v.is_floating_point() and v.dim() == 2), None)
            weights = next((v for v in given if ids is not None and v.is_floating_point() and v.shape == ids.shape), None)
            if weights is not None:
                frame.ids, frame.weights = ids, weights
        if self.detail and frame and frame.step_size and frame.product and path == f"{frame.path}.out_proj":
            scan, gated = frame.product
            if gated.data_ptr() == args[0].data_ptr():
                self.functional(frame.path, "scan", scan, ready=False)
        first_layer = self.layers and path == f"{self.layout.stack}.{self.layers[0]}"
        if not (self.detail or path in self.layout.repeated or first_layer):
            return
        self.arguments[path, call] = {k: v for k, v in arguments if isinstance(v, (str, int)) and not isinstance(v, bool)}
        index = 0
        for name, value in arguments:
            for suffix, tensor in tensors_in(value):
                self.emit(path, cls, "input", tensor, name=name + suffix, index=index, call=call)
                index += 1

    def bind(self, path, args, kwargs):
        try:
            bound = self.layout.signatures[path].bind_partial(*args, **kwargs)
        except TypeError:
            return [(f"arg{i}", v) for i, v in enumerate(args)] + list(kwargs.items())
        flat = []
        for name, value in bound.arguments.items():
            kind = self.layout.signatures[path].parameters[name].kind
            flat += list(value.items()) if kind is inspect.Parameter.VAR_KEYWORD else [(name, value)]
        return flat

    def leave(self, path, cls, module, args, kwargs, output):
        self.stack.pop()
        call = self.calls[path] - 1
        if self.frames and self.frames[-1].path == path:
            self.close(self.frames.pop())
        results = tensors_in(output)
        for index, (_, tensor) in enumerate(results):
            # beyond the first element only what is of the same kind (cos and sin), unless detail is wanted
            if index == 0 or self.detail or tensor.shape == results[0][1].shape:
                self.emit(path, cls, "output", tensor, index=index, call=call)

    # - inside modules -
    def attend(self, original, module, query, key, value, attention_mask=None, *args, **kwargs):
        path = self.layout.path_of.get(module, self.stack[-1])
        frame = Frame(path, "attention", interface=True)
        self.frames.append(frame)
        output = original(module, query, key, value, attention_mask, *args, **kwargs)
        self.frames.pop()
        if self.frames and self.frames[-1].path == path:
            self.frames[-1].interface = True
        frame.q, frame.k, frame.v, frame.mask, frame.context = query, key, value, attention_mask, output[0].transpose(1, 2)
        frame.probs = output[1]
        self.close_attention(frame)
        return output

    def rotate(self, original, q, k, *args, **kwargs):
        path = next((p for p in reversed(self.stack) if self.layout.kinds.get(p) == "attention"), None)
        if path and self.detail and q.dim() == 4:
            heads_last = kwargs.get("unsqueeze_dim", 1) == 2
            for name, tensor in (("q", q), ("k", k)):
                self.functional(path, name, tensor[0] if heads_last else tensor[0].transpose(0, 1))
        return original(q, k, *args, **kwargs)

    def delta_rule(self, path, original, query, key, value, **kwargs):
        output = original(query, key, value, **kwargs)
        if self.detail:
            for name, tensor in (("q", query), ("k", key), ("v", value), ("g", kwargs.get("g")), ("beta", kwargs.get("beta")),
                                 ("context", output[0])):
                if tensor is not None:
                    self.functional(path, name, tensor[0])
        return output

    def seen(self, name, args, kwargs, out):
        frame = self.frames[-1]
        if frame.kind == "attention":
            if name in ("matmul", "__matmul__", "bmm", "baddbmm"):
                a, b = (kwargs.get("batch1"), kwargs.get("batch2")) if "batch1" in kwargs else args[-2:]
                if frame.softmax_in is None:
                    frame.product = (a, b)
                elif frame.context is None and not frame.interface and a.numel() == frame.softmax_in.numel():
                    frame.probs, frame.v, frame.context = a, b, out
            elif name in ("add", "__add__", "add_", "__iadd__") and isinstance(args[0], torch.Tensor):
                frame.sum = (args[0], args[1] if len(args) > 1 else None, out)
            elif name == "softmax" and frame.softmax_in is None:
                scores = args[0] if args else kwargs["input"]
                frame.softmax_in = frame.scores = scores
                # the mask is the last thing added; learned sinks then widen the row by one
                if frame.sum and frame.sum[2].dim() == scores.dim() and frame.sum[2].shape[:-1] == scores.shape[:-1] \
                        and 0 <= scores.shape[-1] - frame.sum[2].shape[-1] <= 1:
                    frame.scores = frame.sum[0]
                    frame.mask = frame.sum[1]
                if frame.product and not frame.interface:
                    frame.q, frame.k = frame.product[0], frame.product[1].transpose(-1, -2)
            elif name == "scaled_dot_product_attention" and not frame.interface:
                frame.q, frame.k, frame.v = args[:3]
                frame.mask, frame.context = kwargs.get("attn_mask"), out
        elif frame.kind == "moe":
            experts = self.layout.moe[frame.path][0]
            if name == "linear" and frame.logits is None and args[1].shape == self.layout.moe[frame.path]:
                frame.logits = out
            elif name == "topk" and args[0].shape[-1] == experts and args[0].dim() == 2:
                frame.weights, frame.ids = out[0], out[1]
            elif name == "softmax" and frame.ids is not None and args[0].shape == frame.ids.shape:
                frame.weights = out
        elif frame.kind == "mixer":
            if name == "softplus" and self.detail:
                frame.step_size = True
                if self.n_tokens == 1 and out.dim() == 3 and out.shape[-1] > 1 and bool((out == out[..., :1]).all()):
                    out = out[..., 0]  # a single step of Mamba 2 expands it over the head
                self.functional(frame.path, "dt", out, ready=False)
            elif name in ("mul", "__mul__") and self.stack[-1] == frame.path and isinstance(args[0], torch.Tensor):
                frame.product = (args[0], out)

    def close(self, frame):
        if frame.kind == "attention" and not frame.interface and frame.q is not None and frame.context is not None:
            self.close_attention(frame)
        elif frame.kind == "moe":
            if frame.logits is not None:
                self.functional(frame.path, "router_logits", frame.logits.reshape(-1, frame.logits.shape[-1]))
            if frame.ids is not None:
                self.functional(frame.path, "topk_ids", frame.ids)
                self.functional(frame.path, "topk_weights", frame.weights)

    def close_attention(self, frame):
        def token_major(t):  # [(1,) heads, tokens, dim] -> [tokens, heads, dim]
            return (t[0] if t.dim() == 4 else t).transpose(0, 1)

        q, k, v = token_major(frame.q), token_major(frame.k), token_major(frame.v)
        if frame.mask is not None:
            mask = frame.mask.reshape(-1, *frame.mask.shape[-2:])
            if mask.shape[0] == 1 and not any(mask.shape == m.shape and torch.equal(mask, m) for _, m in self.masks):
                self.masks.append((frame.path, mask))
        if self.detail:
            new = q.shape[0]  # earlier tokens come from the cache
            for name, tensor in (("q_rot", q), ("k_rot", k[-new:]), ("v", v[-new:])):
                self.functional(frame.path, name, tensor)
            for name, tensor in (("scores", frame.scores), ("probs", frame.probs)):
                if tensor is not None:
                    self.functional(frame.path, name, tensor[0] if tensor.dim() == 4 else tensor)
            self.functional(frame.path, "context", token_major(frame.context))
        if self.states:
            self.functional(frame.path, "k_cache", k)
            self.functional(frame.path, "v_cache", v)

    def finish(self, cache, first_position):
        """After the pass: positions, masks, and the states that it left behind."""
        if self.glob == "" or not self.states and not self.detail:
            return
        positions = self.positions
        if positions is None:
            positions = torch.arange(first_position, first_position + self.n_tokens)
        self.emit("@positions", "", "input", positions.reshape(-1), ready=True)
        for call, (path, mask) in enumerate(self.masks):
            self.emit("@mask", "", "input", mask[0], call=call, ready=True)
            if len(self.masks) > 1:
                self.taps[-1]["args"] = {"first_used_by": path}
        for layer, name, state in states_of(cache) if self.states else ():
            if layer in self.layout.by_layer:
                self.functional(self.layout.by_layer[layer], name, state[0])


def states_of(cache):
    """(layer, conv_state | ssm_state, tensor) of a cache as transformers 5 keeps them."""
    for i, layer in enumerate(getattr(cache, "layers", None) or []):
        for name, key in (("conv_state", "conv_states"), ("ssm_state", "recurrent_states")):
            if isinstance(getattr(layer, key, None), torch.Tensor):
                yield i, name, getattr(layer, key)


# ---- running -------------------------------------------------------------------------------------------------------


class Session:
    """One sequence through a model: prefill, then single tokens through its cache."""

    def __init__(self, model):
        self.model, self.cache = model, None
        names = inspect.signature(model.forward).parameters
        self.cache_name = "past_key_values" if "past_key_values" in names else "cache_params"
        device = model.get_input_embeddings().weight.device
        self.device = device if device.type != "meta" else torch.device("cpu")  # meta: offloaded, moved by its own hooks

    def start(self, ids):
        self.cache = None
        return self.feed(ids)

    def feed(self, ids):
        """Logits [tokens, vocab] of further tokens."""
        inputs = {"input_ids": torch.tensor([list(ids)], device=self.device), "use_cache": True}
        if self.cache is not None:
            inputs[self.cache_name] = self.cache
        with torch.no_grad():
            output = self.model(**inputs)
        self.cache = getattr(output, self.cache_name, None)
        return output.logits[0]


def greedy(session, ids, count, stop=()):
    """Greedy continuation by plain argmax: no penalty, no temperature. Returns tokens, margins, the prompt's logits."""
    prompt_logits = logits = session.start(ids)
    tokens, margins = [], []
    while len(tokens) < count:
        top = torch.topk(logits[-1].double(), 2)
        tokens.append(int(top.indices[0]))
        margins.append(float(top.values[0] - top.values[1]))
        if tokens[-1] in stop or len(tokens) == count or session.cache is None:
            break
        logits = session.feed([tokens[-1]])
    return tokens, margins, prompt_logits


class Recording:
    """A dump in the making. `add` records one model (one dtype and attention) on all prompts; leaving the `with` block
    without an error writes the manifest and gives the folder its name."""

    def __init__(self, out, name, progress=None):
        self.progress = progress or Progress(quiet=True)
        self.writer = DumpWriter(out)
        self.continuation = {}  # prompt -> the text that decode steps follow in every run, so that runs stay comparable
        self.manifest = {"format": "lockstep-dump", "version": FORMAT_VERSION,
                         "producer": {"name": "transformers", "version": transformers.__version__, "torch": torch.__version__,
                                      "python": platform.python_version(), "attention": ""},
                         "model": name, "architecture": None, "config": None, "generation_config": {}, "level": {},
                         "sanity": {}, "coverage": [], "prompts": [], "greedy": [], "runs": [], "files": []}

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        if kind is not None:
            self.writer.discard()
            return
        self.manifest["warnings"] = self.progress.warnings
        try:
            self.writer.finish(self.manifest)
        except BaseException:
            self.writer.discard()
            raise

    def add(self, model, prompts, *, dtype=None, attention=None, device=None, taps="*", detail=False, steps=0,
            greedy_tokens=GREEDY_TOKENS, continuation=None, layers=None):
        """Records `model` on `prompts` (lists of token ids): prefill, then `steps` decode steps along `continuation` (one
        list of ids a prompt), or along the greedy text of the recording's first run."""
        dtype = dtype or str(model.dtype).removeprefix("torch.")
        attention = attention or getattr(model.config, "_attn_implementation", None) or "eager"
        session = Session(model)
        places = getattr(model, "hf_device_map", None) or {"": session.device}
        device = device or ",".join(dict.fromkeys(f"cuda:{p}" if isinstance(p, int) else str(p) for p in places.values()))
        layout = Layout(model)
        whole = not getattr(model, "lockstep_cut", False)  # False: layers are missing behind, and with them the logits
        manifest = self.manifest
        manifest["architecture"] = type(model).__name__
        manifest["config"] = plain(model.config.to_dict())
        manifest["level"] = {"taps": taps, "detail": detail, "steps": steps, "layers": list(layers) if layers else None}
        kinds = dict.fromkeys([*filter(None, manifest["producer"]["attention"].split(",")), attention])
        manifest["producer"]["attention"] = ",".join(kinds)
        room = positions_of(model)
        for number, ids in enumerate(prompts):
            check_prompt(number, ids, steps, room, model.config)
        if taps:
            layout.probe(session, prompts[0])
        for number, ids in enumerate(prompts):
            prefix = f"{dtype}-{attention}-p{number}"
            plain_logits = None
            if whole and (greedy_tokens or steps and not continuation):
                count = int(min(max(greedy_tokens, steps), room - len(ids)))
                tokens, margins, plain_logits = greedy(session, ids, count)
                manifest["greedy"].append({"dtype": dtype, "attention": attention, "prompt": number, "tokens": tokens,
                                           "margins": margins})
                self.continuation.setdefault(number, tokens)
            forced = continuation[number] if continuation else self.continuation.get(number, [])
            if steps > len(forced):
                raise Refusal(manifest["model"], "--steps", f"at most {len(forced)} (tokens of text to follow; none without the "
                              "last layers)", steps, "record fewer steps, or all layers")
            for step in range(steps + 1):
                fed = list(ids) if step == 0 else [forced[step - 1]]
                so_far = list(ids) + list(forced[:step])
                run_id = f"{prefix}-prefill" if step == 0 else f"{prefix}-step{step}"
                self.progress.event("run", run_id, run=run_id, tokens=len(fed))
                self.writer.known.clear()
                tap = Taps(model, layout, self.writer, run_id, len(fed), taps, detail, states=steps > 0, layers=layers)
                with tap:
                    logits = session.start(fed) if step == 0 else session.feed(fed)
                tap.finish(session.cache, len(so_far) - len(fed))
                if not torch.isfinite(logits).all():
                    raise not_finite(manifest["model"], f"{run_id} logits", model, so_far)
                if step == 0 and plain_logits is not None and not torch.equal(logits, plain_logits):
                    worst = float((logits - plain_logits).abs().max())
                    self.progress.warn(f"{run_id}: tapping changed the logits by {worst:.3g}: this device does not repeat itself")
                stored = self.writer.add(f"{run_id}/logits", logits)[0] if whole else None
                manifest["runs"].append({"id": run_id, "dtype": dtype, "attention": attention, "device": device, "prompt": number,
                                         "prompt_ids": so_far, "phase": "decode" if step else "prefill", "step": step,
                                         "logits": stored, "taps": tap.taps})
                if taps and not any("@" not in t["path"] for t in tap.taps):
                    raise Refusal("--taps", taps, "a pattern that some module path matches", f"none of {len(layout.tapped)} paths, "
                                  f"such as {next(reversed(layout.tapped))}", "quote the pattern; '' records logits alone")
                if number == 0 and step == 0 and taps:
                    manifest["coverage"].append(coverage(layout, tap, dtype, attention))


def record(model, inputs, out, *, name=None, **options):
    """Records a loaded model. `inputs`: a list of prompts, each a list of token ids, or one [batch, tokens] tensor of ids.
    `options`: those of Recording.add (taps, detail, steps, continuation, ...). Returns the dump, opened."""
    if hasattr(inputs, "keys"):
        if not all(map(all, inputs.get("attention_mask", []))):
            raise Refusal("inputs", "attention_mask", "no padding", "masked tokens", "give each prompt as a list of its own")
        inputs = inputs["input_ids"]
    prompts = [[int(t) for t in row] for row in inputs]
    with full_precision(), Recording(out, name or type(model).__name__) as recording:
        recording.add(model.eval(), prompts, **options)
    return Dump(out)


@contextlib.contextmanager
def full_precision():
    """float32 means float32: no TF32 on GPUs, no bfloat16 inside float32 products on CPUs."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def coverage(layout, tap, dtype, attention):
    """Which modules the dump holds and which it does not, with the reason."""
    recorded = {t["path"] for t in tap.taps if t["role"] == "output"}
    return {"dtype": dtype, "attention": attention, "modules": len(layout.tapped),
            "recorded": sum(path in recorded for path in layout.tapped),
            "not_called": [path for path in layout.tapped if not tap.calls[path]],
            "not_selected": sum(tap.calls[path] > 0 and path not in recorded for path in layout.tapped),
            "inside_dispatch": layout.in_dispatch, "dropout_and_identity": layout.left_out}


def plain(value):
    """A config value as JSON: dtypes by name, no infinities, no path of this machine."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items() if k not in ("_name_or_path", "_commit_hash")}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value).removeprefix("torch.")


# ---- step 0: is the reference sane? --------------------------------------------------------------------------------


def positions_of(model):
    """How many positions the model has: a number where they are learned, no limit where they are computed (rotary models go
    on past max_position_embeddings, and what they do there is worth recording)."""
    count = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    learned = any(isinstance(m, torch.nn.Embedding) and m is not model.get_input_embeddings() and 0 <= m.num_embeddings - count <= 2
                  for m in model.modules())  # OPT keeps two rows before the first
    return count if learned else math.inf


def check_prompt(number, ids, steps, room, config):
    vocab = getattr(config.get_text_config(), "vocab_size", None)
    if len(ids) < 2:
        raise Refusal("prompt", number, "two tokens or more (64 for a useful noise floor)", f"{len(ids)}",
                      "give a longer prompt: with one token attention, rotation and masks cannot go wrong")
    if vocab and not all(0 <= i < vocab for i in ids):
        raise Refusal("prompt", number, f"token ids below vocab_size {vocab}", max(ids), "use the model's own tokenizer")
    if len(ids) + steps > room:
        raise Refusal("prompt", number, f"at most {room} tokens with its steps (learned positions)", len(ids) + steps,
                      "shorten the prompt or record fewer steps")


def load_model(name, dtype="float32", attention="eager", device="cpu", trust_remote_code=False, layers=None, progress=None):
    """Loads a checkpoint with its weights cast to `dtype`; refuses one whose weights do not all arrive."""
    progress = progress or Progress(quiet=True)
    name, _, revision = str(name).partition("@")
    options = {"trust_remote_code": trust_remote_code, "revision": revision or None}
    if Path(name).is_dir() and not (Path(name) / "config.json").exists():
        raise Refusal(name, "config.json", "a folder in Hugging Face layout", "no such file", "name the checkpoint's folder")
    try:
        config = transformers.AutoConfig.from_pretrained(name, **options)
    except Exception as error:
        raise Refusal(name, "config.json", "a configuration that transformers reads", one_line(error),
                      "check MODEL; code in the checkpoint needs --trust-remote-code") from error
    cap = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    if attention == "sdpa" and cap is not None:
        # The sdpa interface takes no soft cap: transformers drops it without a word (2.4e-3 of the logits of a small Gemma 2).
        raise Refusal(name, "--attention sdpa", f"attn_logit_softcapping {cap} to be applied", "sdpa, which leaves it out",
                      "record with eager, which is the model")
    cut = None
    if layers:
        text = config.get_text_config()
        total = text.num_hidden_layers
        if not 0 <= layers[0] < layers[1] <= total:
            raise Refusal(name, "--layers", f"0 <= A < B <= {total}", f"{layers[0]}:{layers[1]}", "name layers that exist")
        if layers[1] < total:
            cut = total
            for key, value in vars(text).items():
                if isinstance(value, list) and len(value) == total:
                    setattr(text, key, value[:layers[1]])
            text.num_hidden_layers = layers[1]
    wanted = (config.architectures or [None])[0]
    kind = getattr(transformers, wanted or "", None)
    if kind is None or getattr(config, "auto_map", None):
        kind = transformers.AutoModelForCausalLM
    dtype_key = "dtype" if tuple(int(n) for n in transformers.__version__.split(".")[:2]) >= (4, 56) else "torch_dtype"
    options[dtype_key] = getattr(torch, dtype)
    with library_log() as log:
        try:
            model, info = kind.from_pretrained(name, config=config, attn_implementation=attention, output_loading_info=True,
                                               device_map="auto" if device == "auto" else None, ignore_mismatched_sizes=True, **options)
        except Exception as error:
            unconverted = re.findall(r"(\S+)\s*\|\s*CONVERSION", re.sub(r"\x1b\[[0-9;]*m", "", " ".join(log)))
            if unconverted:
                raise Refusal(name, "weights", "keys that convert to the model's parameters", f"unconverted keys {some(unconverted)}",
                              "complete the checkpoint (a tensor is missing or has another shape), or update transformers") from error
            about_attention = re.search(r"attn|attention_impl|scaled_dot", str(error))
            raise Refusal(name, f"--attention {attention}" if about_attention else "weights", f"a {dtype} model of class {wanted}",
                          one_line(error), "record with the other attention" if about_attention else
                          "repair the checkpoint or update transformers") from error
    if wanted and type(model).__name__ != wanted:
        progress.warn(f"{name}: config.json names {wanted}, transformers built {type(model).__name__}")
    check_loading(name, model, info, cut, progress)
    model.lockstep_cut = cut is not None
    return model.eval()


def one_line(error):
    kind = f"{type(error).__name__}: " if isinstance(error, Exception) else ""
    return kind + " ".join(str(error).split())[:240]


def some(keys):
    keys = sorted(str(k) for k in keys)
    return f"{len(keys)}: " + ", ".join(keys[:5]) + (" ..." if len(keys) > 5 else "")


@contextlib.contextmanager
def library_log():
    """What transformers would print while loading: its report names the keys that its exceptions leave out."""
    lines, library = [], logging.getLogger("transformers")
    handler, before, level = logging.Handler(), library.handlers[:], library.level
    handler.emit = lambda entry: lines.append(entry.getMessage())
    library.handlers[:] = [handler]
    library.setLevel(logging.WARNING)
    try:
        yield lines
    finally:
        library.handlers[:] = before
        library.setLevel(level)


def check_loading(name, model, info, cut, progress):
    """Refuses weights that the checkpoint does not have, or has and the model does not take although it has the module."""
    if info["missing_keys"]:
        raise Refusal(name, "weights", "every parameter in the checkpoint", f"missing keys, left at initialisation, "
                      f"{some(info['missing_keys'])}", "complete the checkpoint, or check the architecture in config.json")
    if info["mismatched_keys"]:
        raise Refusal(name, "weights", "the shapes that config.json implies", f"mismatched keys {some(info['mismatched_keys'])}",
                      "check the sizes in config.json")
    if info.get("error_msgs"):
        raise Refusal(name, "weights", "weights that load", one_line(info["error_msgs"]), "repair the checkpoint")
    unexpected = set(info["unexpected_keys"])
    if cut is not None:
        unexpected = {k for k in unexpected if not any(model.config.get_text_config().num_hidden_layers <= int(n) < cut
                                                       for n in re.findall(r"\.(\d+)\.", k)[:1])}
    modules = dict(model.named_modules())
    prefix = f"{model.base_model_prefix}."
    owned = [k for k in unexpected if any(p.rpartition(".")[0] in modules and p.rpartition(".")[2] in ("weight", "bias")
                                          for p in (k, prefix + k))]
    if owned:
        raise Refusal(name, "weights", "every tensor of a module in use", f"unexpected keys of modules that the model has, "
                      f"{some(owned)}", "check the flags in config.json (attention_bias, mlp_bias, tie_word_embeddings)")
    if unexpected:
        progress.warn(f"{name}: the model takes no notice of tensors {some(unexpected)}")


@torch.no_grad()
def check_weights(name, model, progress):
    """Refuses NaN and infinity; says whether the weights look untrained (constant norms, every matrix as initialised)."""
    spread = getattr(model.config.get_text_config(), "initializer_range", None)
    matrices = as_initialised = 0
    constant_norms = True
    for key, weight in model.state_dict().items():
        if weight.device.type == "meta" or weight.element_size() == 1:  # offloaded by device_map auto; or quantised
            continue
        if not torch.isfinite(weight).all():
            raise Refusal(name, key, "finite weights", "NaN or infinity", "repair or download the checkpoint again")
        if weight.dim() == 1:
            constant_norms = constant_norms and bool((weight == weight[:1]).all())
        elif weight.numel() > 256:
            std = float(weight.float().std())
            if std == 0:
                progress.warn(f"{name}: {key} is constant: left at initialisation?")
            matrices += 1
            as_initialised += bool(spread) and abs(std / spread - 1) < 0.1
    untrained = matrices > 0 and constant_norms and as_initialised > 0.8 * matrices
    if untrained:
        progress.warn(f"{name}: weights look untrained (every norm constant, {as_initialised} of {matrices} matrices with standard "
                      f"deviation initializer_range {spread}): good for arithmetic, not for text")
    return {"finite_weights": True, "looks_untrained": untrained}


def coherence(tokens):
    """What is wrong with greedy text: '' or a description. A loop repeats a stretch of up to 16 tokens to the end."""
    if len(tokens) < 24:
        return ""
    token, count = Counter(tokens).most_common(1)[0]
    if count >= 0.75 * len(tokens):
        return f"collapses: token {token} is {count} of {len(tokens)}"
    for period in range(1, 17):
        run = 0
        while run + period < len(tokens) and tokens[-1 - run] == tokens[-1 - run - period]:
            run += 1
        if run >= max(24, 3 * period):
            return f"loops: the last {run + period} of {len(tokens)} tokens repeat every {period}"
    return ""


def check_text(name, model, tokenizer, untrained, progress):
    """64 greedy tokens under the card's template: text that collapses is refused, text that loops is warned about."""
    if tokenizer is None:
        return {"coherence": "not checked: no tokenizer"}
    ids = chat_ids(tokenizer, COHERENCE_PROMPT) if tokenizer.chat_template else tokenizer(COHERENCE_PROMPT)["input_ids"]
    ends = model.generation_config.eos_token_id if model.generation_config else None
    ends = ends if isinstance(ends, list) else [ends]
    tokens, _, logits = greedy(Session(model), ids, int(min(SANITY_TOKENS, positions_of(model) - len(ids))), stop=ends)
    if not torch.isfinite(logits).all():
        raise not_finite(name, "logits", model, ids)
    fault = "says nothing: its first token ends the text" if tokens[:1] and tokens[0] in ends else coherence(tokens)
    text = tokenizer.decode(tokens)
    if fault.startswith("collapses") and not untrained:
        raise Refusal(name, f"{len(tokens)} greedy tokens", "coherent text", f"{fault}: {text[:120]!r}",
                      "check rope, norm and quantisation keys of config.json: a reference that does not work proves nothing")
    if fault:
        progress.warn(f"{name}: greedy text {fault}: {text[:120]!r}")
    return {"coherence": fault or "ok", "template": bool(tokenizer.chat_template), "text": text, "tokens": tokens}


def not_finite(name, key, model, ids):
    """The refusal of logits with NaN or infinity; runs once more to name the first module whose output has one."""
    with Taps(model, Layout(model), None, "", len(ids), "*", detail=False, states=False) as taps:
        Session(model).start(ids)
    return Refusal(name, key, "finite numbers", f"NaN or infinity, first in the output of {taps.non_finite}",
                   "check that module's weights; where only a low precision overflows, record with --dtype float32")


def neutralised(model):
    """The generation settings that would bend greedy text; recordings never apply them."""
    found = model.generation_config.to_dict() if model.generation_config else {}
    bent = {k: v for k, v in found.items() if k in NEUTRAL and v is not None and v != NEUTRAL[k]}
    return {"found": plain(found), "neutralised": {k: {"found": plain(v), "used": NEUTRAL[k]} for k, v in bent.items()}}


# ---- self-test -----------------------------------------------------------------------------------------------------


def relative(a, b):
    """||a - b|| / ||b||, in float64; infinite where shapes differ or a number is not finite."""
    a, b = a.double(), b.double()
    if a.shape != b.shape or not (torch.isfinite(a) == torch.isfinite(b)).all():
        return math.inf
    a, b = torch.nan_to_num(a, 0, 0, 0), torch.nan_to_num(b, 0, 0, 0)
    return float((a - b).norm() / b.norm()) if b.norm() > 0 else float((a - b).norm())


def self_test(example, progress):
    """Records the bundled example again as its shipped dump was recorded and compares every run and tap."""
    shipped_at = Path(example) / "reference"
    if not (shipped_at / "manifest.json").exists():
        raise Refusal(shipped_at, "manifest.json", "the example's shipped dump", "no such file", "give its folder with --example DIR")
    shipped = Dump(shipped_at)
    level, runs = shipped.manifest["level"], shipped.manifest["runs"]
    prompts = {run["prompt"]: run["prompt_ids"] for run in runs if run["phase"] == "prefill"}
    out = Path(os.environ.get("TMPDIR", "/tmp")) / f"lockstep-self-test-{os.getpid()}"
    try:
        with Recording(out, "self-test", progress) as recording:
            for dtype, attention in dict.fromkeys((run["dtype"], run["attention"]) for run in runs):
                recording.add(load_model(example, dtype, attention, progress=progress), [prompts[i] for i in sorted(prompts)],
                              dtype=dtype, attention=attention, taps=level["taps"], detail=level["detail"], steps=level["steps"],
                              greedy_tokens=min((len(g["tokens"]) for g in shipped.manifest["greedy"]), default=0))
        fresh = Dump(out)
        worst, compared = compare_dumps(shipped, fresh, shipped_at)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    progress.event("done", f"self-test passed: {compared} tensors in {len(runs)} runs, worst float32 difference {worst:.1e} "
                   f"(limit {FLOAT32_LIMIT:.0e})", compared=compared, worst=worst)


def compare_dumps(shipped, fresh, name):
    """float32 taps within FLOAT32_LIMIT; lower precisions within twice their own distance from float32."""
    def tensors(dump):
        found = {}
        for run in dump.manifest["runs"]:
            found[run["id"], "logits"] = run["logits"]
            for tap in run["taps"]:
                found[run["id"], tap["path"], tap["role"], tap["name"], tap["index"], tap["call"]] = tap["tensor"]
        return found

    old, new = tensors(shipped), tensors(fresh)
    worst, compared = 0.0, 0
    for key, tensor in old.items():
        if tensor is None:
            continue
        if key not in new:
            raise Refusal(name, " ".join(map(str, key)), "the taps of the shipped dump", "a recording without it",
                          "this transformers calls its modules differently: record with the version in the shipped manifest")
        difference = relative(fresh[new[key]], shipped[tensor])
        limit = FLOAT32_LIMIT
        if not key[0].startswith(("float32", "float64")):
            exact = old.get((re.sub("^[a-z0-9]+", "float32", key[0]), *key[1:]))
            limit = 2 * relative(shipped[tensor], shipped[exact]) + 2.0**-8 if exact else 0.05
        elif key[0].startswith("float32"):
            worst = max(worst, difference)
        if not difference <= limit:
            raise Refusal(name, " ".join(map(str, key)), f"relative difference up to {limit:.1e}", f"{difference:.1e}",
                          "do not believe recordings from this Python: check its torch and transformers")
        compared += 1
    texts = {(g["dtype"], g["attention"], g["prompt"]): g for g in fresh.manifest["greedy"]}
    for old_text in shipped.manifest["greedy"]:
        new_text = texts[old_text["dtype"], old_text["attention"], old_text["prompt"]]
        for i, (a, b) in enumerate(zip(old_text["tokens"], new_text["tokens"])):
            if a != b:
                if old_text["margins"][i] > (1e-3 if old_text["dtype"] == "float32" else 0.25):
                    raise Refusal(name, f"greedy token {i} of prompt {old_text['prompt']}", a, b, "do not believe this Python")
                break  # a tie: text after it cannot be compared
    return worst, compared


# ---- command line --------------------------------------------------------------------------------------------------


def chat_ids(tokenizer, text):
    try:
        ids = tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, tokenize=True)
    except Exception as error:
        raise Refusal("tokenizer", "chat_template", "a template that renders one message of a user", one_line(error),
                      "repair chat_template.jinja or tokenizer_config.json") from error
    return list(ids["input_ids"] if hasattr(ids, "keys") else ids)


def asked_prompts(args):
    """(kind, text) of every prompt asked for, in the order given; the built-in three when none is."""
    return args.prompts or [("prompt", text) for text in PROMPTS]


def prompts_of(args, tokenizer):
    """Their token ids."""
    asked = asked_prompts(args)
    if tokenizer is None and any(kind != "ids" for kind, _ in asked):
        raise Refusal(args.model, "tokenizer.json", "a tokenizer for text prompts", "none that transformers loads", "give --prompt-ids 1,2,3")
    prompts = []
    for kind, text in asked:
        if kind == "ids":
            try:
                prompts.append([int(i) for i in text.split(",")])
            except ValueError:
                raise Refusal("--prompt-ids", text, "numbers with commas between", "something else", "write 1,2,3") from None
        elif kind == "chat":
            if not tokenizer.chat_template:
                raise Refusal(args.model, "chat_template", "a chat template for --chat", "none", "use --prompt")
            prompts.append(chat_ids(tokenizer, text))
        else:
            prompts.append(list(tokenizer(text)["input_ids"]))
    return prompts


def parse(argv):
    class Ask(argparse.Action):  # one list for the three kinds, so that prompts keep the order of the command line
        def __call__(self, parser, namespace, value, option=None):
            kind = {"--prompt": "prompt", "--chat": "chat", "--prompt-ids": "ids"}[option]
            namespace.prompts = (namespace.prompts or []) + [(kind, value)]

    parser = argparse.ArgumentParser(prog="record.py", description="Records what a transformers model computes.",
                                     epilog="example: record.py meta/model --output ref --detail --steps 4")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="folder in Hugging Face layout, or Hub id org/name[@revision]")
    parser.add_argument("--output", metavar="DIR")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="may be repeated; default float32 and bfloat16")
    parser.add_argument("--attention", action="append", choices=("eager", "sdpa"), help="may be repeated; default eager")
    parser.add_argument("--prompt", dest="prompts", action=Ask, metavar="T", help="text; may be repeated, as the next two")
    parser.add_argument("--chat", dest="prompts", action=Ask, metavar="T", help="a user's message, through the chat template")
    parser.add_argument("--prompt-ids", dest="prompts", action=Ask, metavar="1,2,3")
    parser.add_argument("--taps", default="*", metavar="GLOB", help="module paths to record; '' for logits alone")
    parser.add_argument("--detail", action="store_true", help="also inputs, q/k/v, scores, probabilities, context")
    parser.add_argument("--steps", type=int, default=0, metavar="K", help="decode steps with caches, states, positions, masks")
    parser.add_argument("--layers", metavar="A:B", help="load layers up to B only, record A to B")
    parser.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the checkpoint")
    parser.add_argument("--device", choices=("cpu", "auto"), default="cpu", help="auto: spread over the GPUs (needs accelerate)")
    parser.add_argument("--self-test", action="store_true", help="record the bundled example and compare with its shipped dump")
    parser.add_argument("--example", metavar="DIR", help="the bundled example, if it is not beside this file's folder")
    parser.add_argument("--progress-json", action="store_true", help="progress as one JSON object a line, on stderr")
    args = parser.parse_args(argv)
    if not args.self_test and not (args.model and args.output):
        parser.error("MODEL and --output DIR are needed (or --self-test)")
    if args.layers:
        match = re.fullmatch(r"(\d+):(\d+)", args.layers)
        if not match:
            parser.error(f"--layers: expected A:B, found {args.layers}")
        args.layers = (int(match[1]), int(match[2]))
    if args.steps < 0:
        parser.error(f"--steps: expected 0 or more, found {args.steps}")
    return args


def main(argv=None):
    args = parse(argv)
    progress = Progress(as_json=args.progress_json)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        with full_precision():
            if args.self_test:
                self_test(args.example or Path(__file__).resolve().parent.parent / "examples" / "storyteller", progress)
            else:
                run(args, progress)
        return 0
    except Refusal as refusal:
        if args.progress_json:
            print(json.dumps({"event": "error", "message": str(refusal), **refusal.fields}), file=sys.stderr)
        else:
            print(f"record.py: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("record.py: interrupted, nothing was written", file=sys.stderr)
        return 2
    except Exception as error:  # out of memory, a full disk, a family that needs more than this file knows
        traceback.print_exc()
        message = f"{one_line(error)}; nothing was written"
        print(json.dumps({"event": "error", "message": message}) if args.progress_json else f"record.py: {message}", file=sys.stderr)
        return 2


def run(args, progress):
    name, _, revision = args.model.partition("@")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=revision or None,
                                                               trust_remote_code=args.trust_remote_code)
        if not tokenizer(COHERENCE_PROMPT)["input_ids"]:
            raise ValueError("no file of one, and an empty one in its place")
    except Exception as error:  # a model without a tokenizer is recorded from ids
        tokenizer = None
        progress.warn(f"{name}: no tokenizer ({one_line(error)[:160]}): prompts must be ids, coherence is not checked")
    prompts = prompts_of(args, tokenizer)
    short = [i for i, ids in enumerate(prompts) if len(ids) < 64]
    if short:
        progress.event("note", f"prompts {short} have fewer than 64 tokens: a noise floor from them alone is too narrow")
    with Recording(args.output, Path(name).name if Path(name).is_dir() else args.model, progress) as recording:
        recording.manifest["prompts"] = [{"prompt": number, "kind": kind, "text": text}
                                         for number, (kind, text) in enumerate(asked_prompts(args)) if kind != "ids"]
        for dtype in dict.fromkeys(args.dtype or ("float32", "bfloat16")):
            for attention in dict.fromkeys(args.attention or ("eager",)):
                progress.event("load", f"{name} {dtype} {attention}", dtype=dtype, attention=attention)
                model = load_model(args.model, dtype, attention, args.device, args.trust_remote_code, args.layers, progress)
                if not recording.manifest["sanity"]:
                    sanity = check_weights(name, model, progress)
                    if not model.lockstep_cut:
                        sanity |= check_text(name, model, tokenizer, sanity["looks_untrained"], progress)
                    recording.manifest["sanity"] = sanity
                    recording.manifest["generation_config"] = neutralised(model)
                recording.add(model, prompts, dtype=dtype, attention=attention, taps=args.taps, detail=args.detail,
                              steps=args.steps, layers=args.layers)
                del model
    runs, taps = recording.manifest["runs"], sum(len(run["taps"]) for run in recording.manifest["runs"])
    progress.event("done", f"{args.output}: {len(runs)} runs, {taps} taps, {recording.writer.total_bytes / 1e6:.1f} MB",
                   output=args.output, runs=len(runs), taps=taps, bytes=recording.writer.total_bytes)
    if not args.progress_json:
        print(f"next: lockstep dump MODEL --like {args.output} --output PORT, then lockstep diff {args.output} PORT")


if __name__ == "__main__":
    sys.exit(main())
