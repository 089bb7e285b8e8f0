// The openai package drives every route, as its users do. Skipped where it is not installed:
//   npm install --prefix build/npm openai && node --test tests/serve
import assert from 'node:assert/strict';
import {after, before, describe, test} from 'node:test';

import {findPackage, root, startServer} from './server.mjs';

const openai = findPackage('openai');
const skip = openai ? false : 'the openai package is not installed';
const question = [{role: 'user', content: 'What is the capital of Italy?'}];
const answer = 'The capital of Italy is Rome.';

describe('the openai client', {skip}, () => {
  let server, client;
  before(async () => {
    server = await startServer('--served-model-name', 'storyteller', '--api-key', 'secret');
    client = new openai.OpenAI({apiKey: 'secret', baseURL: server.url + '/v1', maxRetries: 0});
  });
  after(async () => {
    assert.equal((await server.stop()).code, 0, server.errors());
  });
  const post = (path, body) => fetch(server.url + path, {method: 'POST', body: JSON.stringify(body),
    headers: {'content-type': 'application/json', 'authorization': 'Bearer secret'}});

  test('lists models', async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.deepEqual(ids, ['storyteller']);
    const model = await client.models.retrieve('storyteller');
    assert.equal(model.object, 'model');
    assert.equal(model.max_model_len, 1024);
    await assert.rejects(client.models.retrieve('other'), openai.NotFoundError);
  });

  test('completes', async () => {
    const done = await client.completions.create({model: 'storyteller', prompt: 'The capital of Italy is',
      max_tokens: 2, temperature: 0, logprobs: 2, echo: true});
    const [choice] = done.choices;
    assert.equal(done.object, 'text_completion');
    assert.match(choice.text, /^The capital of Italy is Rome/);
    const {tokens, token_logprobs, top_logprobs, text_offset} = choice.logprobs;
    assert.equal(tokens.join(''), choice.text);
    assert.equal(token_logprobs[0], null);
    assert.equal(top_logprobs[0], null);
    tokens.forEach((token, i) => assert.equal(choice.text.slice(text_offset[i]).startsWith(token), true));
    assert.equal(done.usage.total_tokens, tokens.length);
  });

  test('completes lists of prompts, several times each', async () => {
    const done = await client.completions.create({model: 'storyteller', prompt: ['Once', 'The'], n: 2,
      max_tokens: 4, seed: 7});
    assert.deepEqual(done.choices.map(choice => choice.index), [0, 1, 2, 3]);
    const again = await client.completions.create({model: 'storyteller', prompt: ['Once', 'The'], n: 2,
      max_tokens: 4, seed: 7});
    assert.deepEqual(again.choices.map(choice => choice.text), done.choices.map(choice => choice.text));
  });

  test('computes a prompt alone', async () => {
    const done = await client.completions.create({model: 'storyteller', prompt: [1, 2, 3], max_tokens: 0,
      echo: true, logprobs: 1});
    assert.equal(done.choices[0].logprobs.tokens.length, 3);
    assert.equal(done.usage.completion_tokens, 0);
  });

  test('chats', async () => {
    const done = await client.chat.completions.create({model: 'storyteller', messages: question,
      max_completion_tokens: 20, temperature: 0, logprobs: true, top_logprobs: 3});
    const [choice] = done.choices;
    assert.equal(choice.message.content, answer);
    assert.equal(choice.finish_reason, 'stop');
    const content = choice.logprobs.content;
    const bytes = content.slice(0, -1).flatMap(token => token.bytes);
    assert.equal(Buffer.from(bytes).toString(), answer);
    assert.equal(content[0].top_logprobs.length, 3);
    assert.equal(content[0].top_logprobs[0].logprob, content[0].logprob);
  });

  test('streams a chat', async () => {
    const stream = await client.chat.completions.create({model: 'storyteller', messages: question,
      max_tokens: 20, temperature: 0, stream: true, stream_options: {include_usage: true}});
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
    assert.equal(chunks.flatMap(chunk => chunk.choices).map(choice => choice.delta.content || '').join(''),
        answer);
    assert.equal(chunks.at(-2).choices[0].finish_reason, 'stop');
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.ok(chunks.at(-1).usage.completion_tokens > 5);
  });

  test('streams completions of several prompts', async () => {
    const stream = await client.completions.create({model: 'storyteller', stream: true, temperature: 0,
      prompt: ['The capital of Italy is', 'Once upon'], max_tokens: 5, n: 2, logprobs: 0});
    const texts = ['', '', '', ''];
    for await (const chunk of stream) {
      for (const choice of chunk.choices) texts[choice.index] += choice.text;
    }
    assert.match(texts[0], /Rome/);
    assert.equal(texts[0], texts[1]);
    assert.match(texts[2], /^ a time/);
  });

  test('stops at strings and shows none of them', async () => {
    const request = {model: 'storyteller', prompt: 'The capital of Italy is', max_tokens: 20,
      temperature: 0, stop: ['me.'], stream: true};
    let text = '', reason = '';
    for await (const chunk of await client.completions.create(request)) {
      text += chunk.choices[0].text;
      reason = chunk.choices[0].finish_reason || reason;
      assert.ok(!text.includes('m'), text);
    }
    assert.equal(text, ' Ro');
    assert.equal(reason, 'stop');
    const shown = await client.completions.create({...request, stream: false, include_stop_str_in_output: true});
    assert.equal(shown.choices[0].text, ' Rome.');
    assert.equal(shown.choices[0].stop_reason, 'me.');
  });

  test('answers inside a schema', async () => {
    const schema = {type: 'object', additionalProperties: false, required: ['city', 'size', 'tags'],
      properties: {city: {type: 'string', maxLength: 12}, size: {type: 'integer'},
        tags: {type: 'array', items: {enum: ['a', 'b']}, maxItems: 3}}};
    for (let seed = 0; seed < 20; ++seed) {
      const done = await client.chat.completions.create({model: 'storyteller', messages: question, seed,
        max_tokens: 200, temperature: 1.5,
        response_format: {type: 'json_schema', json_schema: {name: 'place', schema}}});
      assert.equal(done.choices[0].finish_reason, 'stop');
      const value = JSON.parse(done.choices[0].message.content);
      assert.deepEqual(Object.keys(value), ['city', 'size', 'tags']);
      assert.ok(Number.isInteger(value.size) && value.city.length <= 12);
      assert.ok(value.tags.every(tag => tag === 'a' || tag === 'b') && value.tags.length <= 3);
    }
    await assert.rejects(client.chat.completions.create({model: 'storyteller', messages: question,
      response_format: {type: 'json_schema', json_schema: {name: 'x', schema: {type: 'string', not: {}}}}}),
    error => error.status === 400 && /the keyword "not"/.test(error.message));
  });

  test('calls a function that is asked for', async () => {
    const tools = [{type: 'function', function: {name: 'weather', parameters: {type: 'object',
      properties: {city: {type: 'string', maxLength: 9}}, required: ['city']}}}];
    const request = {model: 'storyteller', messages: question, tools, max_tokens: 100, seed: 1,
      tool_choice: {type: 'function', function: {name: 'weather'}}};
    const done = await client.chat.completions.create(request);
    const [call] = done.choices[0].message.tool_calls;
    assert.equal(call.function.name, 'weather');
    assert.equal(typeof JSON.parse(call.function.arguments).city, 'string');
    const stream = await client.chat.completions.create({...request, tool_choice: 'required', stream: true});
    let name = '', reason = '';
    for await (const chunk of stream) {
      for (const part of chunk.choices[0].delta.tool_calls || []) name += part.function.name;
      reason = chunk.choices[0].finish_reason || reason;
    }
    assert.equal(name, 'weather');
    assert.equal(reason, 'tool_calls');
  });

  test('embeds', async () => {
    const input = ['Once upon a time', 'The capital'];
    const done = await client.embeddings.create({model: 'storyteller', input});
    const plain = await client.embeddings.create({model: 'storyteller', input, encoding_format: 'float'});
    assert.equal(done.data.length, 2);
    done.data.forEach((one, i) => {
      assert.deepEqual(one.embedding.map(Math.fround), plain.data[i].embedding.map(Math.fround));
      const length = Math.hypot(...one.embedding);
      assert.ok(Math.abs(length - 1) < 1e-5, String(length));
    });
  });

  test('tokenizes both ways', async () => {
    const ids = await (await post('/tokenize', {prompt: 'Once upon', return_token_strs: true})).json();
    assert.equal(ids.count, ids.tokens.length);
    assert.equal(ids.token_strs.length, ids.count);
    const text = await (await post('/detokenize', {tokens: ids.tokens})).json();
    assert.equal(text.prompt, 'Once upon');
    const chat = await (await post('/tokenize', {messages: question})).json();
    assert.equal((await (await post('/detokenize', {tokens: chat.tokens})).json()).prompt,
        `<|im_start|>user\n${question[0].content}<|im_end|>\n<|im_start|>assistant\n`);
  });

  test('names what is wrong', async () => {
    const wrong = async (request, status, param) => {
      await assert.rejects(client.chat.completions.create(request), error => {
        assert.equal(error.status, status, error.message);
        assert.equal(error.param, param, error.message);
        return true;
      });
    };
    await wrong({model: 'other', messages: question}, 404, 'model');
    await wrong({model: 'storyteller', messages: question, temperature: -1}, 400, 'temperature');
    await wrong({model: 'storyteller', messages: question, max_tokens: 5000}, 400, 'max_tokens');
    await wrong({model: 'storyteller', messages: [{role: 'user', content: 'long '.repeat(3000)}]}, 400,
        'messages');
    await wrong({model: 'storyteller', messages: []}, 400, 'messages');
  });

  test('wants the key on every route but health', async () => {
    for (const path of ['/health', '/v1/health']) {
      assert.equal((await fetch(server.url + path)).status, 200);
    }
    for (const path of ['/', '/v1/models', '/metrics', '/version', '/tokenize', '/none']) {
      const response = await fetch(server.url + path);
      assert.equal(response.status, 401, path);
      assert.deepEqual(await response.json(), {error: 'Unauthorized'});
    }
    const other = new openai.OpenAI({apiKey: 'wrong', baseURL: server.url + '/v1', maxRetries: 0});
    await assert.rejects(other.models.list(), openai.AuthenticationError);
  });

  test('counts', async () => {
    const headers = {authorization: 'Bearer secret'};
    const text = await (await fetch(server.url + '/metrics', {headers})).text();
    assert.match(text, /^vllm:prompt_tokens_total\{model_name="storyteller"\} [1-9]/m);
    assert.match(text, /^vllm:time_to_first_token_seconds_bucket\{model_name="storyteller",le="\+Inf"\} [1-9]/m);
    assert.ok((await (await fetch(server.url + '/version', {headers})).json()).version);
    assert.match(await (await fetch(server.url + '/', {headers})).text(), /<title>Lockstep/);
  });

  test('frees what clients who leave had taken', async () => {
    const controllers = Array.from({length: 20}, () => new AbortController());
    await Promise.all(controllers.map(async controller => {
      try {
        const stream = await client.completions.create({model: 'storyteller', prompt: 'Once upon',
          max_tokens: 900, stream: true, ignore_eos: true}, {signal: controller.signal});
        for await (const chunk of stream) if (chunk.choices[0].text) controller.abort();
      } catch (error) {
        assert.ok(error instanceof openai.APIUserAbortError, String(error));
      }
    }));
    const headers = {authorization: 'Bearer secret'};
    for (let i = 0; ; ++i) {
      const text = await (await fetch(server.url + '/metrics', {headers})).text();
      if (/^vllm:num_requests_running\{.*\} 0$/m.test(text) && /^lockstep:cache_pages_used\{.*\} 0$/m.test(text)) {
        break;
      }
      assert.ok(i < 100, text);
      await new Promise(done => setTimeout(done, 50));
    }
  });
});

test('ends when told to, after the answers under way', {skip}, async () => {
  const server = await startServer();
  const client = new openai.OpenAI({apiKey: 'x', baseURL: server.url + '/v1', maxRetries: 0});
  const stream = await client.completions.create({model: root + '/examples/storyteller', prompt: 'Once upon',
    max_tokens: 300, ignore_eos: true, stream: true});
  let reason = '';
  let told = false;
  for await (const chunk of stream) {
    if (!told) server.child.kill('SIGTERM');
    told = true;
    reason = chunk.choices[0].finish_reason || reason;
  }
  assert.equal(reason, 'length');
  assert.equal((await server.ended).code, 0);
});
