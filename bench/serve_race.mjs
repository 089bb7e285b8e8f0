#!/usr/bin/env node
// Tokens a second of `lockstep serve` and of llama-server, the same weights, prompts and threads, in
// one run: rounds in turn (A B A B), so that a machine that changes changes for both; the ratio is the
// median of the rounds' ratios. First it is checked that both give the same greedy text.
//   node bench/serve_race.mjs [--model FOLDER] [--gguf FILE] [--streams 32] [--tokens 96] [--prompt 8]
//       [--rounds 5] [--threads 2] [--json FILE]
// LOCKSTEP_LLAMA_SERVER is the command that runs llama-server from the folder this is called in;
// LOCKSTEP_PEER_PYTHON one that runs a Python with the gguf package: it makes FILE where none is given.
import {spawn, spawnSync} from 'node:child_process';
import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {request} from 'node:http';
import {createServer} from 'node:net';
import {basename, join, relative, resolve} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';

const root = resolve(fileURLToPath(import.meta.url), '../..');
const {values: options} = parseArgs({options: {
  model: {type: 'string', default: join(root, 'examples/storyteller')},
  gguf: {type: 'string'},
  streams: {type: 'string', default: '32'},
  tokens: {type: 'string', default: '96'},
  prompt: {type: 'string', default: '8'},
  rounds: {type: 'string', default: '5'},
  threads: {type: 'string', default: '2'},
  json: {type: 'string'},
}});
const [streams, tokens, promptLength, rounds, threads] =
  ['streams', 'tokens', 'prompt', 'rounds', 'threads'].map(name => {
    const value = Number(options[name]);
    if (!Number.isInteger(value) || value < 1) fail(`--${name}: expected a whole number, found ${options[name]}`);
    return value;
  });
const longest = promptLength + tokens;

function fail(message) {
  console.error(`serve_race: ${message}`);
  process.exit(1);
}

const words = text => text.split(' ').filter(word => word !== '');

/** `model` as GGUF below build/bench. */
function converted(model) {
  const python = words(process.env.LOCKSTEP_PEER_PYTHON || 'python3');
  const out = relative('.', join(root, 'build/bench', basename(resolve(model)) + '.gguf'));
  mkdirSync(join(root, 'build/bench'), {recursive: true});
  const script = relative('.', join(root, 'bench/to_gguf.py'));
  const {status, stderr} = spawnSync(python[0], [...python.slice(1), script, relative('.', model), out], {encoding: 'utf8'});
  if (status !== 0) fail(`no GGUF of ${model}: ${stderr?.trim().split('\n').at(-1)}; give --gguf`);
  return out;
}

function freePort() {
  return new Promise(done => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const {port} = server.address();
      server.close(() => done(port));
    });
  });
}

class Contestant {
  constructor(name, command, port) {
    this.name = name;
    this.url = `http://127.0.0.1:${port}`;
    this.child = spawn(command[0], command.slice(1), {stdio: ['ignore', 'ignore', 'pipe']});
    this.child.on('error', error => fail(`${command[0]}: ${error.message}`));
    this.errors = '';
    this.child.stderr.on('data', part => { this.errors = (this.errors + part).slice(-2000); });
  }

  async ready() {
    for (;;) {
      if (this.child.exitCode !== null) fail(`${this.name} ended: ${this.errors}`);
      const response = await fetch(this.url + '/health').catch(() => null);
      if (response?.status === 200) return;
      await new Promise(done => setTimeout(done, 100));
    }
  }

  /** Seconds of processor time, all threads. */
  cpu() {
    const fields = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** One answer: its text, the tokens that the server counted, and when the first event came. */
  complete(prompt, maxTokens, ignoreEos) {
    return new Promise((done, failed) => {
      const start = performance.now();
      let rest = '', text = '', first = null, usage = null;
      const sent = request(this.url + '/v1/completions', {method: 'POST', agent: false,
        headers: {'content-type': 'application/json'}});
      sent.on("error", error => fail(`${this.name}: ${error.message}; ${this.errors}`));
      sent.on('response', response => {
        response.setEncoding('utf8');
        response.on('data', part => {
          first ??= performance.now() - start;
          const events = (rest + part).split('\n\n');
          rest = events.pop();
          for (const event of events) {
            if (!event.startsWith('data: {')) continue;
            const body = JSON.parse(event.slice('data: '.length));
            text += body.choices?.[0]?.text ?? '';
            usage = body.usage ?? usage;
          }
        });
        response.on('error', failed);
        response.on('end', () => {
          if (response.statusCode !== 200 || usage === null) fail(`${this.name}: ${response.statusCode} ${rest}`);
          done({text, tokens: usage.completion_tokens, first});
        });
      });
      sent.end(JSON.stringify({prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: ignoreEos, stream: true,
        stream_options: {include_usage: true}}));
    });
  }

  /** All prompts at once. */
  async round(prompts) {
    const cpu = this.cpu(), start = performance.now();
    const answers = await Promise.all(prompts.map(prompt => this.complete(prompt, tokens, true)));
    const seconds = (performance.now() - start) / 1000;
    const total = answers.reduce((sum, answer) => sum + answer.tokens, 0);
    if (total !== streams * tokens) fail(`${this.name}: ${total} tokens, expected ${streams * tokens}`);
    return {rate: total / seconds, cpuMs: 1000 * (this.cpu() - cpu) / total};
  }
}

const median = values => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const spread = (values, digits) =>
  `${median(values).toFixed(digits)} (${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)})`;

/** How many of a few prompts get the same text up to the first end; null where one gives no text. */
async function sameTexts(a, b, prompts) {
  let same = 0;
  for (const prompt of prompts) {
    const [x, y] = [await a.complete(prompt, 8, false), await b.complete(prompt, 8, false)];
    if (x.text === '' && x.tokens > 1) return null;
    same += x.text.trimEnd() === y.text.trimEnd();
  }
  return same;
}

const llama = words(process.env.LOCKSTEP_LLAMA_SERVER || 'llama-server');
if (!process.env.LOCKSTEP_LLAMA_SERVER && spawnSync(llama[0], ['--version']).error) {
  console.log('serve_race: llama-server is not installed; LOCKSTEP_LLAMA_SERVER says how to run it');
  process.exit(0);
}
const binary = process.env.LOCKSTEP_BINARY || join(root, 'build/release/bin/lockstep');
if (!existsSync(binary)) fail(`${binary} is not built`);
const gguf = options.gguf ?? converted(options.model);
const {vocab_size: vocabSize} = JSON.parse(readFileSync(join(options.model, 'config.json'), 'utf8'));
const ports = [await freePort(), await freePort()];
const ours = new Contestant('lockstep', [binary, 'serve', '--model', options.model, '--host', '127.0.0.1', '--port',
  String(ports[0]), '--threads', String(threads), '--max-batch-size', String(streams), '--max-length', String(longest)], ports[0]);
const theirs = new Contestant('llama-server', [...llama, '-m', gguf, '--host', '127.0.0.1', '--port', String(ports[1]), '-t',
  String(threads), '-np', String(streams), '-c', String(streams * Math.max(256, longest))], ports[1]);
process.on('exit', () => [ours, theirs].forEach(one => one.child.kill()));
await Promise.all([ours.ready(), theirs.ready()]);

let state = 1;
const below = n => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor(state / 2 ** 32 * n);
};
// Whole words, in both tokenizers' terms: neither ends of text nor single bytes.
const prompts = n => Array.from({length: n}, () =>
  Array.from({length: promptLength}, () => Math.floor(vocabSize / 3) + below(Math.floor(vocabSize / 2))));

const same = await sameTexts(ours, theirs, prompts(8));
if (same === 0) fail('the two give no same text: are these the same weights?');
console.log(`${basename(resolve(options.model))}: ${streams} streams of ${tokens} tokens, prompts of ${promptLength}, ` +
  `${threads} threads; same text for ${same ?? 'an unknown number'} of 8 prompts`);
const results = [];
for (let i = 0; i <= rounds; ++i) {
  const asked = prompts(streams);
  const [a, b] = [await ours.round(asked), await theirs.round(asked)];
  if (i === 0) continue;  // warms both
  results.push({ours: a, theirs: b, ratio: a.rate / b.rate});
  console.log(`round ${i}: lockstep ${a.rate.toFixed(1)}, llama-server ${b.rate.toFixed(1)} tokens/s, ratio ${(a.rate / b.rate).toFixed(2)}`);
}
for (const [name, key] of [['lockstep', 'ours'], ['llama-server', 'theirs']]) {
  console.log(`${name.padEnd(13)} ${spread(results.map(r => r[key].rate), 1)} tokens/s, ` +
    `${spread(results.map(r => r[key].cpuMs), 3)} ms of processor time a token`);
}
console.log(`ratio         ${spread(results.map(r => r.ratio), 2)}`);
if (options.json) writeFileSync(options.json, JSON.stringify({...options, same_texts: same, rounds: results}, null, 1) + '\n');
process.exit(0);
