// What is served is what was verified: echo and logprobs of every fixture's prompts against the log
// softmax of the reference's float32 logits, and greedy text against the reference's.
import assert from 'node:assert/strict';
import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {test} from 'node:test';

import {root, runLockstep, startServer} from './server.mjs';

const committed = [join(root, 'examples'), join(root, 'tests/fixtures')];
const shared = join(root, '../shared/fixtures/models');
const folders = new Map();
for (const parent of [...committed, ...(existsSync(shared) ? [shared] : [])]) {
  for (const name of readdirSync(parent)) {
    const folder = join(parent, name);
    if (existsSync(join(folder, 'golden/golden.safetensors')) && !folders.has(name)) {
      folders.set(name, folder);
    }
  }
}
// LOCKSTEP_SERVE_FIXTURES=llama,gpt2 runs these alone.
const wanted = process.env.LOCKSTEP_SERVE_FIXTURES?.split(',');

test('a dry run says the whole command, and why', () => {
  const {status, stdout, stderr} = runLockstep('serve', '--model', join(root, 'examples/storyteller'),
      '--served-model-name', 'gpt2', '--max-length', '100', '--dry-run', '--json');
  assert.equal(status, 0, stderr);
  const {command, reasons} = JSON.parse(stdout);
  assert.match(command, /^lockstep serve --model \S+ --served-model-name gpt2 --dtype bfloat16 /);
  assert.match(command, / --max-length 100 .* --cache-tokens \d+ --host 0\.0\.0\.0 --port 8000$/);
  const about = reasons.map(reason => reason.about);
  for (const part of ['dtype', 'length', 'memory', 'template', 'collision']) {
    assert.ok(about.includes(part), part);
  }
  const wrong = runLockstep('serve', '--model', join(root, 'examples/storyteller'), '--chat-template',
      'no-such-file', '--dry-run');
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr, /--chat-template: no such file/);
});

function readTensors(file) {
  const bytes = readFileSync(file);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + headerBytes));
  return name => {
    const {dtype, shape, data_offsets: [begin, end]} = header[name];
    assert.equal(dtype, 'F32', name);
    const data = bytes.subarray(8 + headerBytes + begin, 8 + headerBytes + end);
    const values = Float32Array.from({length: data.length / 4}, (_, i) => data.readFloatLE(4 * i));
    return {shape, values};
  };
}

function logSoftmax(row) {
  const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = row.reduce((a, b) => a + Math.exp(b - most), 0);
  return Array.from(row, x => x - most - Math.log(sum));
}

for (const [name, folder] of folders) {
  if (wanted && !wanted.includes(name)) continue;
  test(`echo and logprobs of ${name} are the reference's`, async () => {
    const expected = JSON.parse(readFileSync(join(folder, 'golden/expected.json')));
    const tensor = readTensors(join(folder, 'golden/golden.safetensors'));
    const server = await startServer('--model', folder, '--max-length', '512');
    const complete = async body => {
      const response = await fetch(server.url + '/v1/completions', {method: 'POST',
        headers: {'content-type': 'application/json'}, body: JSON.stringify(body)});
      const text = await response.text();
      assert.equal(response.status, 200, text);
      return JSON.parse(text).choices[0];
    };
    try {
      for (const [p, ids] of expected.prompt_ids.entries()) {
        const {shape: [, width], values} = tensor(`float32.logits.${p}`);
        const choice = await complete({prompt: ids, max_tokens: 1, temperature: 0, echo: true,
          logprobs: 5, ignore_eos: true, return_token_ids: true});
        const {tokens, token_logprobs, top_logprobs, text_offset} = choice.logprobs;
        assert.equal(tokens.length, ids.length + 1);
        assert.equal(token_logprobs[0], null);
        assert.equal(top_logprobs[0], null);
        const all = [...ids, ...choice.token_ids];
        let text = '';
        for (let i = 0; i < all.length; ++i) {
          assert.equal(text_offset[i], [...text].length, `offset ${i}`);
          const skipped = i === ids.length && !choice.text.endsWith(tokens[i]);
          if (!skipped) text += tokens[i];
          if (i === 0) continue;
          const row = logSoftmax(values.subarray((i - 1) * width, i * width));
          const difference = Math.abs(token_logprobs[i] - row[all[i]]);
          assert.ok(difference <= 1e-4, `prompt ${p} token ${i}: ${difference}`);
          const best = Math.max(...row);
          const shown = Math.max(...Object.values(top_logprobs[i]));
          assert.ok(Math.abs(best - shown) <= 1e-4, `prompt ${p} top of ${i}`);
        }
        assert.equal(choice.text, text);
      }
    } finally {
      await server.stop();
    }
  });
}
