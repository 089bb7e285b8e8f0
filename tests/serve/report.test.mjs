// Reports of `debug` and `diff` in Chromium, at desktop and phone width, light and dark: the guilty
// operator is seen without scrolling, nothing is wider than the page, no text lies on another, and
// names of strangers stay text. Skipped where playwright-core or a Chromium is not installed, as
// page.test.mjs is.
import assert from 'node:assert/strict';
import {cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, describe, test} from 'node:test';

import {findPackage, root, runLockstep} from './server.mjs';

const playwright = findPackage('playwright-core');
const browserFile = [process.env.LOCKSTEP_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome'].find(file => file && existsSync(file));
const skip = !playwright ? 'playwright-core is not installed' :
    !browserFile ? 'there is no Chromium' : false;

const sizes = [{width: 1280, height: 800}, {width: 390, height: 844}];
const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>';

// Texts that lie on each other, of elements that hold text themselves.
function overlaps() {
  const boxes = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    if (!node.textContent.trim() || !node.parentElement.checkVisibility()) continue;
    if (node.parentElement.closest('title')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const r of range.getClientRects()) {
      if (r.width > 0) boxes.push({text: node.textContent.trim().slice(0, 40), node, r});
    }
  }
  const found = [];
  for (let i = 0; i < boxes.length; ++i) {
    for (let j = i + 1; j < boxes.length; ++j) {
      const a = boxes[i].r, b = boxes[j].r;
      if (boxes[i].node === boxes[j].node) continue;
      const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      // A line's box is a little higher than its letters.
      if (width > 1 && height > 4) found.push(`${boxes[i].text} | ${boxes[j].text}`);
    }
  }
  return found;
}

describe('reports', {skip}, () => {
  let folder, browser;
  const page = {};
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'lockstep-report-'));
    const storyteller = join(root, 'examples/storyteller');
    // A port with a fault: the model as it is, run as another config says.
    cpSync(storyteller, join(folder, 'model'), {recursive: true});
    const file = join(folder, 'model/config.json');
    const config = JSON.parse(readFileSync(file, 'utf8'));
    config.rms_norm_eps = 0.05;
    writeFileSync(file, JSON.stringify(config));
    // And a reference whose texts are hostile.
    const reference = join(folder, 'model/reference');
    const manifest = JSON.parse(readFileSync(join(reference, 'manifest.json'), 'utf8'));
    manifest.model = hostile;
    writeFileSync(join(reference, 'manifest.json'), JSON.stringify(manifest));
    const model = join(folder, 'model'), dump = join(folder, 'dump');
    const run = (status, ...args) => {
      const done = runLockstep(...args);
      assert.equal(done.status, status, done.stdout + done.stderr);
    };
    page.fault = join(folder, 'fault.html');
    page.pass = join(folder, 'pass.html');
    page.diff = join(folder, 'diff.html');
    run(1, 'debug', model, '--reference', reference, '--html', page.fault);
    run(0, 'debug', storyteller, '--reference', join(storyteller, 'reference'), '--html', page.pass);
    run(0, 'dump', model, '--like', reference, '--output', dump);
    run(1, 'diff', reference, dump, '--html', page.diff);
    browser = await playwright.chromium.launch({executablePath: browserFile, args: ['--no-sandbox']});
  });
  after(async () => {
    await browser?.close();
    if (folder) rmSync(folder, {recursive: true});
  });

  for (const name of ['fault', 'pass', 'diff']) {
    for (const viewport of sizes) {
      for (const colorScheme of ['light', 'dark']) {
        test(`${name} at ${viewport.width} x ${viewport.height}, ${colorScheme}`, async () => {
          const tab = await browser.newPage({viewport, colorScheme});
          const asked = [];
          tab.on('request', request => {
            if (!/^(file|data):/.test(request.url())) asked.push(request.url());
          });
          await tab.goto('file://' + page[name]);
          if (process.env.LOCKSTEP_SHOTS) {
            const shot = `${name}-${viewport.width}-${colorScheme}`;
            await tab.screenshot({path: join(process.env.LOCKSTEP_SHOTS, shot + '.png')});
            await tab.screenshot({path: join(process.env.LOCKSTEP_SHOTS, shot + '-full.png'), fullPage: true});
          }
          const width = await tab.evaluate(() => document.documentElement.scrollWidth);
          assert.ok(width <= viewport.width, `${width} wide`);
          assert.deepEqual(await tab.evaluate(overlaps), []);
          for (const selector of name === 'pass' ? ['h1'] : ['h1', '.guilty .path']) {
            const box = await tab.locator(selector).first().boundingBox();
            assert.ok(box && box.y >= 0 && box.y + box.height <= viewport.height, `${selector} out of sight`);
          }
          if (name === 'fault') {
            for (const term of ['cause', 'change']) {
              const box = await tab.locator(`.guilty dt:text-is("${term}") + dd`).first().boundingBox();
              assert.ok(box && box.y + box.height <= viewport.height, `${term} out of sight`);
            }
          }
          assert.ok(await tab.locator('svg.heat rect').count() > 0);
          assert.ok(await tab.locator('svg.curve polyline').count() > 0);
          assert.equal(await tab.locator('img, script').count(), 0);
          if (name !== 'pass') assert.match(await tab.textContent('header'), /<img src=x/);
          // All details open, too.
          await tab.evaluate(() => document.querySelectorAll('details').forEach(d => { d.open = true; }));
          assert.ok(await tab.evaluate(() => document.documentElement.scrollWidth) <= viewport.width);
          assert.deepEqual(await tab.evaluate(overlaps), []);
          const [back, text] = await tab.evaluate(() => {
            const style = getComputedStyle(document.body);
            return [style.backgroundColor, style.color].map(c => c.match(/\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0));
          });
          assert.equal(back > text, colorScheme === 'light');
          assert.deepEqual(asked, []);
          await tab.close();
        });
      }
    }
  }
});
