// Many streams at once: each gets its own text whole, none another's, and /health answers meanwhile.
// LOCKSTEP_STREAMS=1000 sets how many; from 1000 on the time of /health is held to its limit.
import assert from 'node:assert/strict';
import {request} from 'node:http';
import {join} from 'node:path';
import {test} from 'node:test';
import {Worker} from 'node:worker_threads';

import {generate, inFlight, metric, root, startServer} from './server.mjs';

const nStreams = Number(process.env.LOCKSTEP_STREAMS || 200);
const healthLimit = 50;  // milliseconds, the 99th percentile
const nDistinct = 16, mostTokens = 64;

/** Reads one stream to its end: its token ids, and whether it ended as it should. */
function stream(url, body) {
  return new Promise((done, fail) => {
    const tokens = [];
    let rest = '', isDone = false;
    const sent = request(url + '/v1/completions', {method: 'POST', agent: false, headers: {'content-type': 'application/json'}});
    sent.on('error', fail);
    sent.on('response', response => {
      response.setEncoding('utf8');
      response.on('error', fail);
      response.on('data', part => {
        const events = (rest + part).split('\n\n');
        rest = events.pop();
        for (const event of events) {
          if (event === 'data: [DONE]') isDone = true;
          else tokens.push(...JSON.parse(event.slice('data: '.length)).choices[0].token_ids ?? []);
        }
      });
      response.on('end', () => done({status: response.statusCode, tokens, isDone: isDone && rest === ''}));
    });
    sent.end(JSON.stringify(body));
  });
}

const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];

test(`${nStreams} streams at once have their own text`, async t => {
  const model = join(root, 'examples/storyteller');
  const prompts = Array.from({length: nDistinct}, (_, i) => [1, 2, 3, 4, 5].map(k => 259 + (97 * k * k + 131 * k * i) % 698));
  const texts = [];
  await inFlight(2, prompts, async (prompt, i) => {
    texts[i] = (await generate(model, prompt, '--dtype', 'float32', '--max-tokens', String(mostTokens), '--ignore-eos')).tokens;
  });
  assert.equal(new Set(texts.map(String)).size, nDistinct, 'texts that could not be told apart');
  const server = await startServer('--threads', '2');
  const probe = new Worker(new URL('./health_probe.mjs', import.meta.url), {workerData: {url: server.url}});
  try {
    const start = performance.now();
    const streams = await Promise.all(Array.from({length: nStreams}, (_, i) => stream(server.url,
        {prompt: prompts[i % nDistinct], max_tokens: mostTokens - i % 7, temperature: 0, ignore_eos: true, stream: true,
          return_token_ids: true})));
    const seconds = (performance.now() - start) / 1000;
    probe.postMessage('stop');
    const times = (await new Promise((done, fail) => probe.once('message', done).once('error', fail))).sort((a, b) => a - b);
    let nTokens = 0;
    streams.forEach(({status, tokens, isDone}, i) => {
      assert.equal(status, 200);
      assert.ok(isDone, `stream ${i} was cut`);
      assert.deepEqual(tokens, texts[i % nDistinct].slice(0, mostTokens - i % 7), `stream ${i}`);
      nTokens += tokens.length;
    });
    t.diagnostic(`${nStreams} streams, ${nTokens} tokens in ${seconds.toFixed(2)} s, ${Math.round(nTokens / seconds)} tokens/s; ` +
      `/health ${times.length} times: median ${percentile(times, 0.5).toFixed(1)} ms, p99 ${percentile(times, 0.99).toFixed(1)} ms, ` +
      `most ${times.at(-1).toFixed(1)} ms`);
    if (nStreams >= 1000) assert.ok(percentile(times, 0.99) < healthLimit);
    assert.equal(await metric(server.url, 'vllm:num_requests_running'), 0);
    assert.equal(await metric(server.url, 'vllm:kv_cache_usage_perc'), 0);
  } finally {
    await probe.terminate();
    await server.stop();
  }
});
