// Driver: one headless Chromium, one page a phone. It reads commands from stdin
// and answers on stdout, one JSON object a line:
//
//   {"id":1,"page":"a","do":"open"}                       → {"id":1,"value":null}
//   {"id":2,"page":"a","do":"call","with":{"target":"…"}} → {"id":2,"error":"…"}
//
// open, close, reload, messages and forget are the driver's own; all else is a function of
// window.exam (page.mjs). It ends when stdin does.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const here = dirname(fileURLToPath(import.meta.url));
const pages = new Map(); // name → {page, context, messages}

async function servePage() {
  const bundle = await build({
    entryPoints: [join(here, 'page.mjs')], bundle: true, format: 'iife', write: false,
    define: { global: 'window' },
  });
  const script = bundle.outputFiles[0].text;
  const server = createServer((request, response) => {
    if (request.url === '/page.js') {
      response.writeHead(200, { 'Content-Type': 'text/javascript; charset=utf-8' }).end(script);
    } else if (request.url === '/') {
      response.writeHead(200, { 'Content-Type': 'text/html' })
        .end('<!doctype html><title>exam</title><link rel="icon" href="data:,"><script src="/page.js"></script>');
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, address: `http://127.0.0.1:${server.address().port}/` };
}

function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--ignore-certificate-errors', // the proxies' certificates come from a CA of their own
      '--disable-audio-output', // no sound card is looked for; WebAudio runs by the clock
      '--autoplay-policy=no-user-gesture-required',
      '--allow-loopback-in-peer-connection',
      '--disable-features=WebRtcHideLocalIpsWithMdns',
    ],
  });
}

// listen keeps every SIP message as it went over the page's WebSocket.
function listen(page, messages) {
  page.on('websocket', (socket) => {
    const keep = (sent) => ({ payload }) => messages.push({ sent, time: Date.now(), text: String(payload) });
    socket.on('framesent', keep(true));
    socket.on('framereceived', keep(false));
  });
}

async function open(browser, address, name) {
  if (pages.has(name)) throw new Error(`page ${name} is open already`);
  const context = await browser.newContext();
  const page = await context.newPage();
  const messages = [];
  page.on('console', (m) => process.stderr.write(`${name}: ${m.text()}\n`));
  page.on('pageerror', (e) => process.stderr.write(`${name}: ${e.stack ?? e}\n`));
  listen(page, messages);
  await page.goto(address);
  pages.set(name, { page, context, messages });
}

async function close(name) {
  const entry = pages.get(name);
  pages.delete(name);
  await entry.page.close({ runBeforeUnload: false });
  await entry.context.close();
}

async function run(browser, address, command) {
  if (command.do === 'open') return open(browser, address, command.page);
  const entry = pages.get(command.page);
  if (!entry) throw new Error(`no page ${command.page}`);
  if (command.do === 'close') return close(command.page);
  if (command.do === 'reload') return void (await entry.page.reload());
  if (command.do === 'messages') return entry.messages;
  if (command.do === 'forget') return void (entry.messages.length = 0);
  return entry.page.evaluate(([name, argument]) => window.exam[name](argument), [command.do, command.with ?? {}]);
}

const reply = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);
const { server, address } = await servePage();
const browser = await launch();
reply({ id: 0, value: browser.version() });

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  run(browser, address, command).then(
    (value) => reply({ id: command.id, value: value ?? null }),
    (error) => reply({ id: command.id, error: String(error?.message ?? error) }),
  );
}
await browser.close();
server.close();
