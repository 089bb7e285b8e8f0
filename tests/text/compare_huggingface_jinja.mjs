// Where @huggingface/jinja writes something else than jinja2 did for tests/fixtures/chat_templates.
//
//     npm install --prefix build/npm @huggingface/jinja
//     node tests/text/compare_huggingface_jinja.mjs build/npm/node_modules/@huggingface/jinja
//
// Prints a line for each difference and a count; docs/chat-templates.md explains them.
import fs from "node:fs";
import path from "node:path";

const library = path.resolve(process.argv[2]);
const { Template } = await import(path.join(library, "dist/index.js"));
const folder = "tests/fixtures/chat_templates";
const recorded = JSON.parse(fs.readFileSync(`${folder}/expected.json`, "utf8"));

// Its strftime_now() asks Date, which stands at the recording script's time.
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...parts) {
    super(...(parts.length > 0 ? parts : [2025, 2, 9, 14, 5, 7]));
  }
};

let same = 0, different = 0;
for (const [name, outcomes] of Object.entries(recorded.expected)) {
  const source = fs.readFileSync(`${folder}/${name}.jinja`, "utf8");
  for (const [set, expected] of Object.entries(outcomes)) {
    const variables = { ...recorded.tokens, tools: null, documents: null, ...recorded.sets[set] };
    let text = null, error = null;
    try {
      text = new Template(source).render(variables);
    } catch (e) {
      error = String(e.message ?? e).split("\n")[0];
    }
    if ((expected.error !== undefined && error !== null) || expected.text === text) {
      ++same;
      continue;
    }
    ++different;
    console.log(`${name} ${set}: ${expected.error ? `jinja2 raises ${expected.error}` : "jinja2 has a text"}, ` +
      (error !== null ? `it raises ${error}` : "it has another text"));
    if (process.argv[3] === "--show") console.log(JSON.stringify(expected.text) + "\n" + JSON.stringify(text));
  }
}
console.log(`${same} the same, ${different} different`);
