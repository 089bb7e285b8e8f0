// Ids and text by @huggingface/tokenizers: node tokenizers_oracle.mjs FOLDER < lines > lines.
// LOCKSTEP_NODE_MODULES is the node_modules folder that has it.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const library = path.resolve(process.env.LOCKSTEP_NODE_MODULES ?? "node_modules", "@huggingface/tokenizers");
const { module } = JSON.parse(fs.readFileSync(path.join(library, "package.json"), "utf8"));
const { Tokenizer } = await import(pathToFileURL(path.join(library, module)));

const folder = process.argv[2];
const read = (name) => {
  const file = path.join(folder, name);
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, "utf8")) : {};
};
const tokenizer = new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
const answers = [];
for (const line of fs.readFileSync(0, "utf8").split("\n")) {
  if (line === "") continue;
  const request = JSON.parse(line);
  const { ids } = tokenizer.encode(request.text, { add_special_tokens: request.add_special_tokens ?? true });
  const decode = (skip) => (ids.length ? tokenizer.decode(ids, { skip_special_tokens: skip }) : "");
  answers.push(JSON.stringify({ ids, decoded: decode(false), decoded_skip_special: decode(true) }));
}
process.stdout.write(answers.join("\n") + "\n");
