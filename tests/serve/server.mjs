// A server on a port of its own for tests: started, waited for, ended.
import {spawn, spawnSync} from 'node:child_process';
import {createRequire} from 'node:module';
import {dirname, join, resolve} from 'node:path';
import {fileURLToPath} from 'node:url';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const binary = process.env.LOCKSTEP_BINARY || join(root, 'build/release/bin/lockstep');
const modules = resolve(process.env.LOCKSTEP_NODE_MODULES || join(root, 'build/npm/node_modules'));

/** A package of the developer's, or null where it is not installed. */
export function findPackage(name) {
  try {
    return createRequire(join(modules, 'x.js'))(name);
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
}

export function runLockstep(...args) {
  return spawnSync(binary, args, {encoding: 'utf8'});
}

/** What `lockstep generate` says of a prompt of ids: tokens, text. */
export async function generate(model, prompt, ...options) {
  const args = ['generate', model, '--threads', '1', '--json', '--prompt-ids', prompt.join(','), ...options];
  const child = spawn(binary, args, {stdio: ['ignore', 'pipe', 'pipe']});
  let text = '', errors = '';
  child.stdout.on('data', part => { text += part; });
  child.stderr.on('data', part => { errors += part; });
  const status = await new Promise(done => child.on('close', done));
  if (status !== 0) throw new Error(`generate: ${status} ${errors}`);
  return JSON.parse(text);
}

/** A response, whatever its status. */
export function post(url, body) {
  return fetch(url, {method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify(body)});
}

/** A figure of /metrics. */
export async function metric(url, name) {
  const text = await (await fetch(url + '/metrics')).text();
  return Number(text.match(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm'))[1]);
}

/** Calls `run(item, index)` on every item, at most `n` at a time. */
export async function inFlight(n, items, run) {
  let next = 0;
  const one = async () => {
    while (next < items.length) {
      const i = next++;
      await run(items[i], i);
    }
  };
  await Promise.all(Array.from({length: Math.min(n, items.length)}, one));
}

const defaults = {'--model': join(root, 'examples/storyteller'), '--dtype': 'float32', '--threads': '1', '--port': '0'};

export async function startServer(...options) {
  const others = Object.entries(defaults).filter(([name]) => !options.includes(name)).flat();
  const args = ['serve', '--host', '127.0.0.1', ...others, ...options];
  const child = spawn(binary, args, {stdio: ['ignore', 'pipe', 'pipe']});
  let errors = '';
  child.stderr.on('data', part => { errors += part; });
  const ended = new Promise(done => child.on('exit', (code, signal) => done({code, signal})));
  const url = await new Promise((done, fail) => {
    let text = '';
    child.stdout.on('data', part => {
      text += part;
      const found = text.match(/Server ready on (\S+)/);
      if (found) done(found[1]);
    });
    ended.then(how => fail(new Error(`the server ended: ${JSON.stringify(how)} ${errors}`)));
  });
  return {
    url,
    child,
    ended,
    errors: () => errors,
    async stop() {
      child.kill('SIGTERM');
      return ended;
    },
  };
}
