// The page in Chromium: a chat streamed, a token's probability shown, an error shown. Skipped where
// playwright-core or a Chromium is not installed:
//   npm install --prefix build/npm playwright-core && apt-get install chromium
import assert from 'node:assert/strict';
import {existsSync} from 'node:fs';
import {after, before, describe, test} from 'node:test';

import {findPackage, startServer} from './server.mjs';

const playwright = findPackage('playwright-core');
const browserFile = [process.env.LOCKSTEP_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome'].find(file => file && existsSync(file));
const skip = !playwright ? 'playwright-core is not installed' :
    !browserFile ? 'there is no Chromium' : false;

describe('the page', {skip}, () => {
  let server, browser, page;
  const foreign = [];
  before(async () => {
    server = await startServer('--max-length', '200');
    browser = await playwright.chromium.launch({executablePath: browserFile, args: ['--no-sandbox']});
    page = await browser.newPage();
    page.on('request', request => {
      if (!request.url().startsWith(server.url) && !request.url().startsWith('data:')) foreign.push(request.url());
    });
    await page.goto(server.url + '/');
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });
  const ask = async text => {
    await page.fill('#input', text);
    await page.press('#input', 'Enter');
    await page.waitForFunction(() => document.getElementById('send').textContent === 'Send');
  };

  test('streams a chat', async () => {
    await page.fill('#temperature', '0');
    await ask('What is the capital of Italy?');
    assert.equal(await page.textContent('.assistant'), 'The capital of Italy is Rome.');
    // A long answer, and every state of it that the page went through.
    await page.evaluate(() => {
      window.states = new Set();
      new MutationObserver(() => {
        const answers = document.querySelectorAll('.assistant');
        window.states.add(answers[answers.length - 1].textContent.length);
      }).observe(document.getElementById('chat'), {childList: true, subtree: true});
    });
    await page.evaluate(() => {
      const plain = window.fetch;
      // Events come one by one, however fast the server is.
      const slowly = new TransformStream({
        async transform(part, out) {
          for (const event of new TextDecoder().decode(part).split(/(?<=\n\n)/)) {
            out.enqueue(new TextEncoder().encode(event));
            await new Promise(done => setTimeout(done, 3));
          }
        },
      });
      window.fetch = async (url, options) => {
        window.fetch = plain;
        const body = {...JSON.parse(options.body), ignore_eos: true, max_tokens: 120};
        const response = await plain(url, {...options, body: JSON.stringify(body)});
        return new Response(response.body.pipeThrough(slowly), response);
      };
    });
    await ask('Tell me a story.');
    const n = await page.evaluate(() => window.states.size);
    assert.ok(n > 3, `${n} states of ${await page.textContent('.assistant >> nth=1')}`);
    await page.click('#clear');
    await ask('What is the capital of Italy?');
  });

  test("shows a token's probability", async () => {
    assert.ok(await page.locator('.assistant .token').count() > 5);
    assert.equal(await page.isVisible('#tip'), false);
    await page.hover('.assistant .token >> nth=0');
    const tip = await page.textContent('#tip');
    assert.equal(await page.isVisible('#tip'), true);
    assert.match(tip, /^"The"  \d+\.\d\d %\n/);
    assert.equal(tip.split('\n').length, 6);
  });

  test('shows an error', async () => {
    await ask('long '.repeat(300));
    assert.match(await page.textContent('.error'), /maximum context length is 200 tokens/);
    await ask('What is the capital of Italy?');
    assert.equal(await page.locator('.assistant').count(), 2);
  });

  test('needs nothing from elsewhere', () => assert.deepEqual(foreign, []));
});
