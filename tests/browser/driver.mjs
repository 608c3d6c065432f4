// Drives one Chromium for pytest: a request a line on standard input, an answer a line on standard output, in order.
//   {"page": 0, "call": "mouse.click", "with": [10, 20]}  any method of playwright's Page -> {"value": ...} or {"error": "..."}
// and of our own: open, close, seen, until, inside (the frame in it), downloads, axe, devtools, processes. Ends, and Chromium with it, when its input does.
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const [packages, executablePath, directory] = process.argv.slice(2);
const require = createRequire(join(packages, 'any.js'));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const quiet = '--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update';
const alike = '--disable-sync --font-render-hinting=none --force-color-profile=srgb --disable-lcd-text';
const args = `${quiet} ${alike}`.split(' ');
const browser = await chromium.launch({ executablePath, args, chromiumSandbox: false });
const pages = [];

/** What the page does that a test would want to know of. */
function watched(page) {
  const seen = { requests: [], console: [], errors: [], dialogs: [] };
  const downloads = [];
  page.on('request', (request) => seen.requests.push(request.url()));
  page.on('console', (message) => seen.console.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => seen.errors.push(error.stack ?? String(error)));
  page.on('dialog', (dialog) => (seen.dialogs.push(dialog.message()), dialog.dismiss()));
  page.on('popup', (popup) => (seen.requests.push(popup.url()), watched(popup)));
  page.on('download', (download) => {
    const path = join(directory, `${downloads.length}-${download.suggestedFilename()}`);
    downloads.push(download.saveAs(path).then(() => ({ name: download.suggestedFilename(), path })));
  });
  return pages.push({ page, seen, downloads }) - 1;
}

const ours = {
  async open(_, options) {
    const context = await browser.newContext({ locale: 'en-GB', timezoneId: 'UTC', ...options });
    context.setDefaultTimeout(20_000);
    return watched(await context.newPage());
  },
  close: ({ page }) => page.context().close(),
  seen: ({ seen }) => seen,
  inside: ({ page }, expression) => page.frames()[1].evaluate(expression),
  downloads: ({ downloads }) => Promise.all(downloads),
  /** Asked from here: the page's policy lets it evaluate nothing. */
  async until({ page }, expression, timeout) {
    for (const end = Date.now() + timeout; !(await page.evaluate(expression)); await page.waitForTimeout(20))
      if (Date.now() > end) throw new Error(`${timeout} ms have passed`);
  },
  async axe({ page }, options) {
    await page.evaluate(axe);
    const found = await page.evaluate((given) => window.axe.run(document, given), options ?? {});
    return found.violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, at: nodes.map((n) => [n.html.slice(0, 200), n.failureSummary]) }));
  },
  async devtools({ page }, method, parameters) {
    const session = await page.context().newCDPSession(page);
    try {
      return await session.send(method, parameters ?? {});
    } finally {
      await session.detach();
    }
  },
  async processes() {
    const session = await browser.newBrowserCDPSession();
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    await session.detach();
    return processInfo;
  },
};

mkdirSync(directory, { recursive: true });
for await (const line of createInterface({ input: process.stdin })) {
  const { page: number, call, with: given } = JSON.parse(line);
  let answer;
  try {
    const about = pages[number];
    const way = call.split('.');
    const method = way.pop();
    const on = way.reduce((object, name) => object[name], about?.page);
    const value = await (ours[call] ? ours[call](about, ...given) : on[method](...given));
    answer = JSON.stringify({ value: value === undefined ? null : value }, (key, each) => (each?._guid ? null : each));
  } catch (error) {
    answer = JSON.stringify({ error: String(error.message ?? error) });
  }
  process.stdout.write(`${answer}\n`);
}
await browser.close();
