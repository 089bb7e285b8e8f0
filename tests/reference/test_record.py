"""Tests of reference/record.py: what it refuses, what it writes. They need the storyteller checkpoint (LOCKSTEP_EXAMPLE, by
default examples/storyteller) and skip themselves, saying so, where it or torch is absent."""
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = Path(os.environ.get("LOCKSTEP_EXAMPLE", ROOT / "examples" / "storyteller"))
sys.path.insert(0, str(ROOT / "reference"))
try:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
except ImportError as error:
    raise unittest.SkipTest(f"the recorder needs torch, transformers and safetensors: {error}")
import record as recorder

PROMPT = ["--prompt-ids", "591,283,298,682,273"]


def tearDownModule():
    shutil.rmtree(Broken.scratch, ignore_errors=True)


@unittest.skipUnless((EXAMPLE / "config.json").exists(), f"no checkpoint at {EXAMPLE}: set LOCKSTEP_EXAMPLE")
class Case(unittest.TestCase):
    scratch = Path(tempfile.mkdtemp())

    def run_recorder(self, *args):
        """(exit status, stderr) of a command line."""
        errors, output = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
            try:
                status = recorder.main([str(a) for a in args])
            except SystemExit as stop:
                status = stop.code
        return status, errors.getvalue()

    def copy(self, name, tensors=None, **config):
        """A copy of the example with some tensors (None: dropped) and config keys changed."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("golden", "reference"))
        weights = load_file(EXAMPLE / "model.safetensors")
        for key, value in (tensors(weights) if tensors else {}).items():
            if value is None:
                del weights[key]
            else:
                weights[key] = value
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**values, **config}))
        return folder


class Broken(Case):
    """A reference that is not sane is refused with exit status 2, by name, and leaves nothing behind."""

    def refuses(self, *words, folder, args=(), prompt=PROMPT):
        out = self.scratch / "refused"
        status, errors = self.run_recorder(folder, "--output", out, "--dtype", "float32", *prompt, *args)
        self.assertEqual(status, 2, errors)
        for word in ("Do: ", *words):
            self.assertIn(word, errors)
        self.assertEqual([p.name for p in self.scratch.iterdir() if p.name.startswith("refused")], [])

    def warns(self, word, folder):
        status, errors = self.run_recorder(folder, "--output", self.scratch / "warned", "--dtype", "float32", *PROMPT)
        self.assertEqual(status, 0, errors)
        self.assertIn(word, errors)
        manifest = json.loads((self.scratch / "warned" / "manifest.json").read_text())
        self.assertTrue(any(word in warning for warning in manifest["warnings"]))

    def test_missing_key(self):
        key = "model.layers.2.self_attn.q_proj.weight"
        self.refuses("missing keys", key, folder=self.copy("m", lambda w: {key: None}))

    def test_bias_that_the_config_turns_off(self):
        key = "model.layers.2.self_attn.q_proj.bias"
        self.refuses("unexpected keys", key, folder=self.copy("m", lambda w: {key: torch.zeros(192)}))

    def test_tensors_of_no_module_are_a_warning(self):
        self.warns("model.extra_head.weight", self.copy("m", lambda w: {"model.extra_head.weight": torch.zeros(4, 4)}))

    def test_wrong_shape(self):
        self.refuses("model.layers.0.mlp.up_proj", folder=self.copy(
            "m", lambda w: {"model.layers.0.mlp.up_proj.weight": torch.zeros(100, 192)}))

    def test_nan_weight(self):
        def spoil(weights):
            weight = weights["model.layers.3.mlp.down_proj.weight"].clone()
            weight[5, 7] = float("nan")
            return {"model.layers.3.mlp.down_proj.weight": weight}
        self.refuses("NaN", "model.layers.3.mlp.down_proj.weight", folder=self.copy("m", spoil))

    def test_overflow_names_the_first_module(self):
        key = "model.layers.3.mlp.down_proj"
        self.refuses("NaN or infinity", key, folder=self.copy(
            "m", lambda w: {f"{key}.weight": torch.full_like(w[f"{key}.weight"], 3e38)}))

    def test_text_that_collapses(self):
        self.refuses("collapses", folder=self.copy("m", lambda w: {"model.norm.weight": 0 * w["model.norm.weight"]}))

    def test_untrained_weights_are_a_warning(self):
        def initialise(weights):
            torch.manual_seed(0)
            return {k: torch.ones_like(w) if w.dim() == 1 else 0.02 * torch.randn(w.shape) for k, w in weights.items()}
        self.warns("untrained", self.copy("m", initialise, initializer_range=0.02))

    def test_one_token(self):
        self.refuses("two tokens or more", folder=EXAMPLE, prompt=["--prompt-ids", "591"])

    def test_ids_beyond_the_vocabulary(self):
        self.refuses("vocab_size", folder=EXAMPLE, prompt=["--prompt-ids", "5,100000"])

    def test_ids_that_are_no_numbers(self):
        self.refuses("--prompt-ids", folder=EXAMPLE, prompt=["--prompt-ids", "5,x"])

    def test_no_checkpoint(self):
        (self.scratch / "empty").mkdir(exist_ok=True)
        self.refuses("config.json", folder=self.scratch / "empty")

    def test_sdpa_that_would_drop_a_soft_cap(self):
        folder = self.scratch / "capped"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"],
                                                        "attn_logit_softcapping": 50.0}))
        self.refuses("--attention sdpa", "attn_logit_softcapping 50.0", folder=folder, args=["--attention", "sdpa"])

    def test_layers_that_do_not_exist(self):
        self.refuses("--layers", "4:9", folder=EXAMPLE, args=["--layers", "4:9"])

    def test_output_that_is_something_else(self):
        folder = self.scratch / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "letter.txt").write_text("keep")
        status, errors = self.run_recorder(EXAMPLE, "--output", folder, *PROMPT)
        self.assertEqual((status, (folder / "letter.txt").read_text()), (2, "keep"), errors)

    def test_usage(self):
        self.assertEqual(self.run_recorder(EXAMPLE)[0], 2)

    def test_progress_json(self):
        status, errors = self.run_recorder(EXAMPLE, "--output", self.scratch / "refused", "--prompt-ids", "5", "--progress-json")
        last = json.loads(errors.splitlines()[-1])
        self.assertEqual((status, last["event"], last["key"], last["found"]), (2, "error", "0", "1"))

    def test_coherence(self):
        self.assertEqual(recorder.coherence(list(range(64))), "")
        self.assertIn("collapses", recorder.coherence([1, 2, 3] + [7] * 61))
        self.assertIn("every 5", recorder.coherence(list(range(20)) + [1, 2, 3, 4, 5] * 9))

    def test_penalties_are_recorded_and_not_applied(self):
        folder = self.copy("m")
        (folder / "generation_config.json").write_text(json.dumps({"repetition_penalty": 1.7, "eos_token_id": 2}))
        manifests = []
        for source in (EXAMPLE, folder):
            self.assertEqual(self.run_recorder(source, "--output", self.scratch / "p", "--dtype", "float32", *PROMPT)[0], 0)
            manifests.append(json.loads((self.scratch / "p" / "manifest.json").read_text()))
        self.assertEqual(manifests[1]["generation_config"]["neutralised"], {"repetition_penalty": {"found": 1.7, "used": 1.0}})
        self.assertEqual(manifests[0]["greedy"], manifests[1]["greedy"])


class Routing(Case):
    def test_which_experts_were_chosen_is_told_without_detail(self):
        for name in ("mixtral", "deepseek_v3"):
            folder = ROOT / "tests" / "fixtures" / name
            status, errors = self.run_recorder(folder, "--output", self.scratch / name, "--dtype", "bfloat16", *PROMPT)
            self.assertEqual(status, 0, errors)
            for run in recorder.Dump(self.scratch / name).manifest["runs"]:
                paths = {tap["path"] for tap in run["taps"]}
                for layer in (1, 2):
                    for part in ("router_logits", "topk_ids", "topk_weights"):
                        self.assertIn(f"model.layers.{layer}.mlp/{part}", paths)


class Format(Case):
    @classmethod
    def setUpClass(cls):
        case = cls()
        status, errors = case.run_recorder(EXAMPLE, "--output", cls.scratch / "dump", "--detail", "--steps", "2", "--attention", "eager",
                                           "--attention", "sdpa", *PROMPT)
        assert status == 0, errors
        cls.dump = recorder.Dump(cls.scratch / "dump")
        cls.runs = {run["id"]: run for run in cls.dump.manifest["runs"]}

    def tap(self, run, path, role="output", index=0):
        return next(t for t in self.runs[run]["taps"] if (t["path"], t["role"], t["index"]) == (path, role, index))

    def test_runs(self):
        self.assertEqual(len(self.runs), 2 * 2 * 3)
        step = self.runs["float32-eager-p0-step2"]
        self.assertEqual((step["phase"], step["step"], len(step["prompt_ids"])), ("decode", 2, 7))
        text = self.dump.manifest["greedy"][0]["tokens"]
        for run in self.runs.values():  # one text for all runs
            self.assertEqual(run["prompt_ids"], [591, 283, 298, 682, 273] + text[:run["step"]])

    def test_every_tap_reads_back(self):
        for run in self.runs.values():
            keys = [(t["path"], t["role"], t["index"], t["call"]) for t in run["taps"]]
            self.assertEqual(len(keys), len(set(keys)))
            for tap in run["taps"]:
                tensor = self.dump[tap["tensor"]]
                self.assertEqual((list(tensor.shape), str(tensor.dtype)), (tap["shape"], "torch." + tap["stored_dtype"]))
                self.assertTrue(tap["tensor"].startswith(run["id"] + "/"))

    def test_inputs_refer_to_the_output_they_are(self):
        run = "float32-eager-p0-prefill"
        norm = self.tap(run, "model.layers.1.input_layernorm")["tensor"]
        self.assertEqual(norm, f"{run}/model.layers.1.input_layernorm:output")
        for name in ("q_proj", "k_proj", "v_proj"):
            self.assertEqual(self.tap(run, f"model.layers.1.self_attn.{name}", "input")["tensor"], norm)
        attention = self.tap(run, "model.layers.1.self_attn", "input")
        self.assertEqual((attention["name"], attention["tensor"]), ("hidden_states", norm))  # passed by keyword

    def test_attention_is_consistent(self):
        for run in ("float32-eager-p0-prefill", "float32-eager-p0-step2"):
            at = {n: self.dump[self.tap(run, f"model.layers.2.self_attn/{n}")["tensor"]]
                  for n in ("q_rot", "k_rot", "v", "scores", "probs", "context", "k_cache", "v_cache")}
            groups = at["q_rot"].shape[1] // at["k_cache"].shape[1]
            keys, values = (at[n].repeat_interleave(groups, 1) for n in ("k_cache", "v_cache"))
            scores = torch.einsum("qhd,khd->hqk", at["q_rot"], keys) * at["q_rot"].shape[-1] ** -0.5
            self.assertLess(recorder.relative(scores, at["scores"]), 1e-6)
            mask = self.dump[self.tap(run, "@mask", "input")["tensor"]]
            self.assertLess(recorder.relative((at["scores"] + mask).softmax(-1), at["probs"]), 1e-6)
            self.assertLess(recorder.relative(torch.einsum("hqk,khd->qhd", at["probs"], values), at["context"]), 1e-6)
            self.assertTrue(torch.equal(at["k_cache"][-len(at["k_rot"]):], at["k_rot"]))

    def test_decode_continues_prefill(self):
        before = self.dump[self.tap("float32-eager-p0-step1", "model.layers.0.self_attn/k_cache")["tensor"]]
        after = self.dump[self.tap("float32-eager-p0-step2", "model.layers.0.self_attn/k_cache")["tensor"]]
        self.assertTrue(torch.equal(after[:-1], before))
        self.assertEqual(self.dump[self.tap("float32-eager-p0-step2", "@positions", "input")["tensor"]].tolist(), [6])

    def test_dtypes(self):
        self.assertEqual(self.tap("bfloat16-sdpa-p0-prefill", "model.layers.0")["stored_dtype"], "bfloat16")
        self.assertEqual(self.dump.manifest["producer"]["attention"], "eager,sdpa")
        self.assertEqual(self.dump.manifest["config"]["_attn_implementation"] if "_attn_implementation" in
                         self.dump.manifest["config"] else "sdpa", "sdpa")

    def test_coverage(self):
        for entry in self.dump.manifest["coverage"]:
            self.assertEqual((entry["recorded"], entry["not_called"]), (entry["modules"], []))

    def test_taps_glob_and_logits_alone(self):
        model = recorder.load_model(EXAMPLE)
        some = recorder.record(model, [[5, 6, 7]], self.scratch / "some", taps="model.layers.*.mlp", greedy_tokens=0)
        self.assertEqual([t["path"] for t in some.manifest["runs"][0]["taps"]], [f"model.layers.{i}.mlp" for i in range(6)])
        none = recorder.record(model, torch.tensor([[5, 6, 7]]), self.scratch / "none", taps="", greedy_tokens=0)
        run = none.manifest["runs"][0]
        self.assertEqual((run["taps"], list(none[run["logits"]].shape)[0], run["logits"]), ([], 3, f"{run['id']}/logits"))

    def test_layers(self):
        status, errors = self.run_recorder(EXAMPLE, "--output", self.scratch / "layers", "--layers", "1:3", "--dtype", "float32", *PROMPT)
        self.assertEqual(status, 0, errors)
        part = recorder.Dump(self.scratch / "layers")
        run = part.manifest["runs"][0]
        self.assertIsNone(run["logits"])
        layers = {t["path"].split(".")[2] for t in run["taps"] if t["path"].startswith("model.layers.")}
        self.assertEqual(layers, {"1", "2"})
        self.assertFalse({"model.norm", "lm_head", "model"} & {t["path"] for t in run["taps"]})
        last = next(t for t in run["taps"] if t["path"] == "model.layers.2" and t["role"] == "output")
        whole = self.dump[self.tap("float32-eager-p0-prefill", "model.layers.2")["tensor"]]
        self.assertTrue(torch.equal(part[last["tensor"]], whole))

    def test_nothing_matches(self):
        with self.assertRaises(recorder.Refusal):
            recorder.record(recorder.load_model(EXAMPLE), [[5, 6, 7]], self.scratch / "nothing", taps="layers.*", greedy_tokens=0)

    def test_padding_is_refused(self):
        with self.assertRaises(recorder.Refusal):
            recorder.record(recorder.load_model(EXAMPLE), {"input_ids": [[0, 5, 6]], "attention_mask": [[0, 1, 1]]}, self.scratch / "padded")

    def test_shards(self):
        size, recorder.SHARD_BYTES = recorder.SHARD_BYTES, 20_000
        try:
            dump = recorder.record(recorder.load_model(EXAMPLE), [[5, 6, 7]], self.scratch / "shards", greedy_tokens=0)
        finally:
            recorder.SHARD_BYTES = size
        self.assertGreater(len(dump.manifest["files"]), 2)
        self.assertTrue(dump.manifest["files"][0].startswith("tensors-00001-of-0"))
        for tap in dump.manifest["runs"][0]["taps"]:
            self.assertEqual(list(dump[tap["tensor"]].shape), tap["shape"])


class OwnCode(Case):
    """A checkpoint that brings its own code, with an attention that bypasses the interface."""

    CONFIGURATION = """from transformers import LlamaConfig
class TellerConfig(LlamaConfig):
    model_type = "teller"
"""
    MODELING = """import torch
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention, apply_rotary_pos_emb, repeat_kv
from .configuration_teller import TellerConfig
class TellerAttention(LlamaAttention):
    def forward(self, hidden_states, position_embeddings=None, attention_mask=None, past_key_values=None, **kwargs):
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        q, k, v = (p(hidden_states).view(shape).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = apply_rotary_pos_emb(q, k, *position_embeddings)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        k, v = repeat_kv(k, self.num_key_value_groups), repeat_kv(v, self.num_key_value_groups)
        weights = q @ k.transpose(-1, -2) * self.scaling + attention_mask
        return self.o_proj((torch.softmax(weights, -1) @ v).transpose(1, 2).flatten(2)), None
class TellerForCausalLM(LlamaForCausalLM):
    config_class = TellerConfig
    def __init__(self, config):
        super().__init__(config)
        for i, layer in enumerate(self.model.layers):
            layer.self_attn = TellerAttention(config, i)
        self.post_init()
"""

    def test_opt_in(self):
        folder = self.copy("teller", model_type="teller", architectures=["TellerForCausalLM"], auto_map={
            "AutoConfig": "configuration_teller.TellerConfig", "AutoModelForCausalLM": "modeling_teller.TellerForCausalLM"})
        (folder / "configuration_teller.py").write_text(self.CONFIGURATION)
        (folder / "modeling_teller.py").write_text(self.MODELING)
        args = [folder, "--output", self.scratch / "own", "--dtype", "float32", "--detail", "--steps", "1", *PROMPT]
        status, errors = self.run_recorder(*args)
        self.assertEqual(status, 2)
        self.assertIn("--trust-remote-code", errors)
        status, errors = self.run_recorder(*args, "--trust-remote-code")
        self.assertEqual(status, 0, errors)
        own = recorder.Dump(self.scratch / "own")
        self.assertEqual(own.manifest["architecture"], "TellerForCausalLM")
        same = recorder.record(recorder.load_model(EXAMPLE), [[591, 283, 298, 682, 273]], self.scratch / "same", steps=1, detail=True)
        for ours, theirs in zip(own.manifest["runs"], same.manifest["runs"]):
            taps = {t["path"]: t["tensor"] for t in ours["taps"] if t["role"] == "output"}
            for tap in theirs["taps"]:
                if tap["path"].endswith(("/q", "/q_rot", "/scores", "/probs", "/context")):
                    self.assertLess(recorder.relative(own[taps[tap["path"]]], same[tap["tensor"]]), 1e-5, tap["path"])


class SelfTest(Case):
    def test_passes_then_notices(self):
        example = self.copy("example")
        args = ["--output", example / "reference", "--steps", "1", "--detail", *PROMPT]
        self.assertEqual(self.run_recorder(example, *args)[0], 0)
        status, errors = self.run_recorder("--self-test", "--example", example)
        self.assertEqual(status, 0, errors)
        self.assertIn("self-test passed", errors)
        tensors = load_file(example / "reference" / "tensors.safetensors")
        tensors["float32-eager-p0-prefill/model.layers.3.mlp.down_proj:output"] *= 1.0001
        save_file(tensors, example / "reference" / "tensors.safetensors")
        status, errors = self.run_recorder("--self-test", "--example", example)
        self.assertEqual(status, 2)
        self.assertIn("model.layers.3.mlp.down_proj", errors)

    def test_no_shipped_dump(self):
        status, errors = self.run_recorder("--self-test", "--example", self.scratch / "nowhere")
        self.assertEqual(status, 2)
        self.assertIn("--example", errors)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(2)
    unittest.main()
