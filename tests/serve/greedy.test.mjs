// Served greedy text is what `lockstep generate` prints for the same prompt: alone, with 64 others in
// the batch, with beginnings found in the cache, and after preemption. In float32 no token differs; in
// bfloat16 one may where the two best logits are closer than the floor, and each such place is listed.
// LOCKSTEP_SERVED_REQUESTS=2000 sets how many requests each type gets.
import assert from 'node:assert/strict';
import {join} from 'node:path';
import {test} from 'node:test';

import {generate, inFlight, metric, post, root, startServer} from './server.mjs';

const nRequests = Number(process.env.LOCKSTEP_SERVED_REQUESTS || 200);
// Of each scenario: every one is generated once, and served several times.
const mostDistinct = 80;
const model = join(root, 'examples/storyteller');
// Below lie ends of texts and single bytes: a prompt that ends inside a character has no text of its own.
const firstId = 259, vocabSize = 957;
// One ulp of a bfloat16 logit between 8 and 16.
const floor = 0.0625 + 1e-5;  // and what two float32 logarithms are off

const scenarios = [
  {name: 'alone', share: 0.15, inFlight: 1, options: ['--no-enable-prefix-caching']},
  {name: 'with 64 others', share: 0.4, inFlight: 65,
    options: ['--max-batch-size', '65', '--no-enable-prefix-caching']},
  {name: 'prefix hits', share: 0.2, inFlight: 8, options: []},
  // Short prompts are let in, and grow to more than there is.
  {name: 'few pages', share: 0.25, inFlight: 40, longestPrompt: 24, mostTokens: 160,
    options: ['--max-length', '192', '--cache-tokens', '512', '--max-batched-tokens', '64']},
];

/** Numbers below n, the same in every run. */
function randomNumbers(seed) {
  let state = seed;
  return n => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * n);
  };
}

/** Prompts of ids that share beginnings, and how much text each gets. */
function distinctRequests(below, n, longestPrompt, mostTokens) {
  const longest = Math.floor(longestPrompt * 3 / 4);
  const ids = n => Array.from({length: n}, () => firstId + below(vocabSize - firstId));
  const beginnings = Array.from({length: 4}, () => ids(longest));
  return Array.from({length: n}, () => ({
    prompt: [...beginnings[below(4)].slice(0, below(longest + 1)),
      ...ids(1 + below(longestPrompt - longest))],
    max_tokens: 1 + below(mostTokens),
    // Random prompts end soon, most of them.
    ignore_eos: below(8) !== 0,
  }));
}

function generated({prompt, max_tokens, ignore_eos}, dtype) {
  return generate(model, prompt, '--dtype', dtype, '--max-tokens', String(max_tokens), ...(ignore_eos ? ['--ignore-eos'] : []));
}

/** The ids and the text that one request gets, in one piece or as a stream. */
async function served(url, request, streams) {
  const response = await post(url + '/v1/completions',
      {...request, temperature: 0, stream: streams, return_token_ids: true, logprobs: 5, return_tokens_as_token_ids: true});
  const body = await response.text();
  assert.equal(response.status, 200, body);
  if (!streams) {
    const [choice] = JSON.parse(body).choices;
    return {tokens: choice.token_ids, text: choice.text, top: choice.logprobs.top_logprobs};
  }
  const events = body.split('\n\n').filter(event => event !== '').map(event => event.slice('data: '.length));
  assert.equal(events.pop(), '[DONE]');
  const choices = events.map(event => JSON.parse(event).choices[0]);
  return {
    tokens: choices.flatMap(choice => choice.token_ids ?? []),
    text: choices.map(choice => choice.text).join(''),
    top: choices.flatMap(choice => choice.logprobs?.top_logprobs ?? []),
  };
}

/** Where the two part, or null: the place, and how much likelier the server held its own token. */
function difference(found, expected) {
  const length = Math.max(found.tokens.length, expected.tokens.length);
  for (let at = 0; at < length; ++at) {
    if (found.tokens[at] === expected.tokens[at]) continue;
    const logprob = id => found.top[at]?.[`token_id:${id}`] ?? (id === undefined ? NaN : -Infinity);
    return {at, length: expected.tokens.length, margin: logprob(found.tokens[at]) - logprob(expected.tokens[at])};
  }
  assert.equal(found.text, expected.text);
  return null;
}

for (const [dtype, seed] of [['float32', 1], ['bfloat16', 2]]) {
  test(`served greedy text of ${dtype} is that of generate`, async t => {
    const below = randomNumbers(seed);
    let nCompared = 0, nTokens = 0, nDifferent = 0;
    for (const {name, share, inFlight: n, longestPrompt = 96, mostTokens = 48, options} of scenarios) {
      const count = Math.round(nRequests * share);
      const distinct = distinctRequests(below, Math.min(mostDistinct, Math.ceil(count / 10)), longestPrompt, mostTokens);
      const expected = new Map();
      await inFlight(2, distinct, async request => expected.set(request, await generated(request, dtype)));
      const server = await startServer('--dtype', dtype, '--max-logprobs', '5', ...options);
      const requests = Array.from({length: count}, () => distinct[below(distinct.length)]);
      const differences = [];
      let tokens = 0;
      try {
        await inFlight(n, requests, async (request, i) => {
          const found = await served(server.url, request, i % 2 === 0);
          const wanted = expected.get(request);
          tokens += wanted.tokens.length;
          const where = difference(found, wanted);
          if (where) differences.push({request: i, ...where});
        });
        const preemptions = await metric(server.url, 'vllm:num_preemptions_total');
        const hits = await metric(server.url, 'vllm:prefix_cache_hits_total');
        t.diagnostic(`${name}: ${requests.length} requests, ${tokens} tokens, ${differences.length} differ; ` +
          `${preemptions} preemptions, ${hits} prompt tokens from the cache`);
        for (const {request, at, length, margin} of differences) {
          t.diagnostic(`${name}: request ${request} parts at token ${at} of ${length}, margin ${margin.toFixed(4)}`);
          assert.equal(dtype, 'bfloat16');
          assert.ok(margin <= floor, `margin ${margin}`);
        }
        assert.equal(preemptions > 0, name === 'few pages');
        assert.equal(hits > 0, !options.includes('--no-enable-prefix-caching'));
      } finally {
        await server.stop();
      }
      nCompared += requests.length;
      nTokens += tokens;
      nDifferent += differences.length;
    }
    assert.equal(nCompared, nRequests);
    t.diagnostic(`all: ${nCompared} requests, ${nTokens} tokens, ${nDifferent} requests differ`);
  });
}
