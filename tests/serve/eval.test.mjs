// Scores over HTTP and in the program are those of an independent computation by transformers on the
// same 200 items (tests/tasks/storyteller/reference.json), and a server that dies half-way costs
// nothing that was answered.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, test} from 'node:test';

import {root, runLockstep, startServer} from './server.mjs';

const model = join(root, 'examples/storyteller');
const tasks = {stories: 'hellaswag', capitals: 'mmlu', sums: 'gsm8k'};
const data = name => join(root, `tests/tasks/storyteller/${name}.jsonl`);
const reference = JSON.parse(readFileSync(join(root, 'tests/tasks/storyteller/reference.json')));
const binary = process.env.LOCKSTEP_BINARY || join(root, 'build/release/bin/lockstep');
const scratch = mkdtempSync(join(tmpdir(), 'lockstep-eval-'));
after(() => rmSync(scratch, {recursive: true}));

function answers(file) {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n').map(line => JSON.parse(line));
  return lines.slice(1);
}

function check(name, file) {
  const all = answers(file);
  assert.equal(all.length, 200);
  for (const answer of all) {
    const expected = reference[name][answer.item];
    if (name === 'sums') {
      assert.equal(answer.text, expected);
      continue;
    }
    answer.logprobs.forEach((logprob, i) => {
      assert.ok(Math.abs(logprob - expected[i]) <= 1e-4, `${answer.id} ${i}: ${logprob} ${expected[i]}`);
    });
  }
}

// Which choice the reference finds likeliest, set against the rows' own answers.
function expectedAccuracy(name) {
  const rows = readFileSync(data(name), 'utf8').trimEnd().split('\n').map(line => JSON.parse(line)).slice(-200);
  const right = rows.filter((row, i) => {
    const logprobs = reference[name][i];
    return logprobs.indexOf(Math.max(...logprobs)) === Number(row.label ?? row.answer);
  });
  return right.length / rows.length;
}

for (const [name, task] of Object.entries(tasks)) {
  test(`${name} in the program`, () => {
    const file = join(scratch, `${name}.answers`);
    const {status, stdout, stderr} = runLockstep('eval', model, '--dtype', 'float32', '--task', task, '--data',
        data(name), '--output', file, '--json');
    assert.equal(status, 0, stderr);
    check(name, file);
    const {metrics} = JSON.parse(stdout);
    if (name !== 'sums') assert.equal(metrics.acc.value, expectedAccuracy(name));
  });
}

test('the same over HTTP', async () => {
  const server = await startServer();
  try {
    for (const [name, task] of Object.entries(tasks)) {
      const file = join(scratch, `${name}.served`);
      const {status, stderr} = runLockstep('eval', '--base-url', server.url, '--tokenizer', model, '--task', task,
          '--data', data(name), '--output', file, '--json');
      assert.equal(status, 0, stderr);
      check(name, file);
    }
  } finally {
    await server.stop();
  }
});

test('a server that dies half-way: exit 2, nothing lost, and the rest when it is back', async () => {
  const server = await startServer();
  const port = new URL(server.url).port;
  const file = join(scratch, 'cut.answers');
  const args = ['eval', '--base-url', server.url, '--tokenizer', model, '--task', 'hellaswag', '--data',
    data('stories'), '--output', file, '--concurrency', '2', '--progress-lines', '--json'];
  const child = spawn(binary, args, {stdio: ['ignore', 'pipe', 'pipe']});
  let killed = false;
  child.stderr.on('data', part => {
    const done = [...String(part).matchAll(/"done":(\d+)/g)].map(found => Number(found[1]));
    if (killed || Math.max(0, ...done) < 40) return;
    killed = true;
    server.child.kill('SIGKILL');
  });
  const status = await new Promise(done => child.on('close', done));
  assert.equal(status, 2);
  const kept = answers(file).length;
  assert.ok(kept >= 40 && kept < 200, String(kept));

  const again = await startServer('--port', port);
  try {
    const {status: second, stdout, stderr} = runLockstep(...args);
    assert.equal(second, 0, stderr);
    const document = JSON.parse(stdout);
    assert.equal(document.answered_before, kept);
    assert.equal(document.answered, 200);
    check('stories', file);
  } finally {
    await again.stop();
  }
});

test('statuses: missed, stopped early, not run', () => {
  const run = (...rest) => runLockstep('eval', model, '--json', '--task', 'mmlu', '--data', ...rest);
  const wrong = join(root, 'tests/tasks/storyteller/capitals_wrong.jsonl');
  const early = run(wrong, '--shots', '0', '--target', '0.9', '--concurrency', '1');
  assert.equal(early.status, 3, early.stderr);
  assert.ok(JSON.parse(early.stdout).answered < 8);
  assert.equal(run(wrong, '--shots', '0', '--target', '0.0').status, 0);
  const missing = run(join(scratch, 'no-such-file'));
  assert.equal(missing.status, 2);
  assert.match(JSON.parse(missing.stdout).error.message, /no-such-file/);
});
