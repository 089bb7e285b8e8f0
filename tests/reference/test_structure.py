"""Tests of reference/structure.py: what counts as a difference between two models' sources, and what does not."""
import ast
import contextlib
import io
import json
import sys
import tempfile
import textwrap
import types
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "reference"))
import structure

try:
    import torch  # noqa: F401
    import transformers
except ImportError as error:
    transformers = None
    WHY = f"structure needs torch and transformers: {error}"
else:
    WHY = ""


class FakeSide:
    def plain(self, name):
        return name.replace("Foo", "").replace("Bar", "")


def lines(source, *instances, first="hidden_states"):
    """What is compared of a function's source."""
    tree = ast.parse(textwrap.dedent(source)).body[0]
    plain = structure.Plain(FakeSide(), instances, first)
    return [text for text, _ in structure.flattened(structure.joined_return(plain.body(tree.body)))]


class PlainTest(unittest.TestCase):
    def test_what_is_no_part_of_the_computation(self):
        bare = lines("""
            def forward(self, hidden_states):
                y = self.proj(hidden_states)
                return y
        """)
        dressed = lines('''
            def forward(self, hidden_states: "Tensor", attention_mask=None, **kwargs) -> "Tensor":
                """Says something."""
                logger.warning_once("old")
                assert hidden_states.dim() == 3
                if attention_mask is None:
                    attention_mask = torch.ones(3)
                if past_key_values is not None:
                    k, v = past_key_values.update(k, v, self.layer_idx)
                y: "Tensor" = self.proj(hidden_states=hidden_states, attention_mask=attention_mask, **kwargs)
                y = nn.functional.dropout(y, p=0.1, training=self.training)
                return y.contiguous(), attn_weights
        ''')
        self.assertEqual(bare, ["return self.proj(x)"])
        self.assertEqual(dressed, bare)

    def test_names_of_the_family(self):
        self.assertEqual(lines("def f(hidden_states):\n    return FooNorm(hidden_states)"), ["return Norm(x)"])

    def test_conditions_on_the_module_are_decided(self):
        source = """
            def forward(self, hidden_states):
                if self.scale is not None:
                    hidden_states = hidden_states * self.scale
                return hidden_states if self.wide else self.narrow(hidden_states)
        """
        off = types.SimpleNamespace(scale=None, wide=True)
        on = types.SimpleNamespace(scale=2.0, wide=True)
        self.assertEqual(lines(source, off), ["return x"])
        self.assertEqual(lines(source, on), ["return x * self.scale"])
        # Layers that decide differently leave the condition.
        self.assertEqual(lines(source, off, on)[0], "if self.scale is not None:")

    def test_conditions_run_nothing(self):
        hostile = "def f(self, x):\n    if __import__('os').system('false'):\n        return 1\n    return x"
        self.assertIn("__import__", lines(hostile, types.SimpleNamespace())[0])

    def test_shapes_of_lines(self):
        self.assertEqual(structure.shape_of("a, b = f(b, a.b)", {"a", "b"}), ("<0>, <1> = f(<1>, <0>.b)", ["a", "b"]))
        self.assertEqual(structure.renamed("k_pass = f(k_pass, dim=k_pass)", {"k_pass": "k"}), "k = f(k, dim=k)")

    def test_merged(self):
        def difference(name, tensors=(), anchors=()):
            return {**structure.difference("norm", "f:1", name, "none", "add", tensors=tensors), "anchors": list(anchors)}

        joined = structure.merged([difference("a", ["t"]), difference("b", [], ["x"]), difference("c", ["t"], ["x"]), difference("d")])
        self.assertEqual([j["reference"] for j in joined], ["a; b; c", "d"])


@unittest.skipIf(transformers is None, WHY)
class CompareTest(unittest.TestCase):
    SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}

    def compare(self, class_name, model_type, *donors, **keys):
        with tempfile.TemporaryDirectory() as folder:
            config = {"architectures": [class_name], "model_type": model_type, **self.SMALL, **keys}
            (Path(folder) / "config.json").write_text(json.dumps(config))
            with contextlib.redirect_stdout(io.StringIO()):
                return structure.compare(folder, "", donors)

    def differences(self, class_name, model_type, donor, **keys):
        result = self.compare(class_name, model_type, donor, **keys)
        self.assertEqual(result["not_compared"], [])
        self.assertNotIn("failed", result["donors"][donor])
        return result["donors"][donor]["differences"]

    def test_a_model_against_itself(self):
        self.assertEqual(self.differences("LlamaForCausalLM", "llama", "LlamaForCausalLM"), [])

    def test_what_the_configuration_switches_off_is_no_difference(self):
        self.assertEqual(self.differences("MistralForCausalLM", "mistral", "LlamaForCausalLM", sliding_window=None, head_dim=8), [])

    def test_one_difference_in_attention(self):
        found = self.differences("SmolLM3ForCausalLM", "smollm3", "LlamaForCausalLM", no_rope_layers=[1, 0], pad_token_id=0)
        self.assertEqual(len(found), 1, found)
        self.assertEqual(found[0]["part"], "attention")
        self.assertRegex(found[0]["where"], r"^modeling_smollm3\.py:\d+$")
        self.assertIn("no_rope_layers", found[0]["names"])
        self.assertIn("modeling_llama.py:", found[0]["donor"])

    def test_norms_of_heads_name_their_tensors(self):
        found = self.differences("Qwen3ForCausalLM", "qwen3", "LlamaForCausalLM", head_dim=8)
        tensors = {t for d in found for t in d["tensors"]}
        self.assertLessEqual({"model.layers.*.self_attn.q_norm.weight", "model.layers.*.self_attn.k_norm.weight"}, tensors)

    def test_a_rotation_that_no_key_shows(self):
        found = self.differences("Glm4ForCausalLM", "glm4", "LlamaForCausalLM", head_dim=8, pad_token_id=0)
        self.assertTrue(any(d["part"] == "positions" and "rotate_half" in d["reference"] for d in found), found)

    def test_a_norm_that_adds_one(self):
        found = self.differences("GemmaForCausalLM", "gemma", "LlamaForCausalLM", head_dim=8, pad_token_id=0)
        self.assertTrue(any(d["part"] == "norm" and "1.0 + self.weight" in d["reference"] for d in found), found)

    def test_a_class_that_is_not_there(self):
        result = self.compare("MadeUpForCausalLM", "llama", "LlamaForCausalLM")
        self.assertIn("has no class MadeUpForCausalLM", result["not_compared"][0])
        self.assertEqual(result["donors"], {})
        result = self.compare("LlamaForCausalLM", "llama", "MadeUpForCausalLM")
        self.assertIn("has no class MadeUpForCausalLM", result["donors"]["MadeUpForCausalLM"]["not_compared"][0])

    def test_code_of_the_repository_is_not_run(self):
        result = self.compare("OwnForCausalLM", "own_kind", "LlamaForCausalLM", auto_map={"AutoConfig": "configuration_own.OwnConfig"})
        self.assertEqual(len(result["not_compared"]), 1)
        self.assertIn("sources", result["not_compared"][0])

    def test_no_configuration(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as output:
            self.assertEqual(structure.main([folder]), 2)
        self.assertEqual(json.loads(output.getvalue())["event"], "error")


if __name__ == "__main__":
    unittest.main()
