// Starts Chromium, opens a page and notes what the page asks of servers.
import { chromium } from "playwright-core";

const QUIET = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--disable-quic",
  "--disable-sync",
  "--no-first-run",
];

/**
 * Runs `visit(page)` on a page of Chromium; resolves to its result, the page's complaints and every exchange with a server.
 * The certificate whose key has the hash `trusted` is accepted, no other that no authority vouches for.
 */
export async function browse({ chromium: executablePath, url, trusted }, visit) {
  const trust = trusted ? [`--ignore-certificate-errors-spki-list=${trusted}`] : [];
  const browser = await chromium.launch({ executablePath, args: [...QUIET, ...trust] });
  try {
    const page = await browser.newPage({ viewport: { width: 960, height: 1080 } });
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    const exchanges = await noteExchanges(page);
    await page.goto(url);
    const result = await visit(page);
    return { result, complaints, exchanges };
  } finally {
    await browser.close();
  }
}

// Playwright hides preflights and versions of HTTP; the DevTools protocol shows them.
async function noteExchanges(page) {
  const exchanges = [];
  const methods = new Map();
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Network.enable");
  devtools.on("Network.requestWillBeSent", ({ requestId, request }) => methods.set(requestId, request.method));
  devtools.on("Network.responseReceived", ({ requestId, response: { url, status, protocol } }) =>
    exchanges.push({ method: methods.get(requestId), url, status, protocol }),
  );
  return exchanges;
}

/** Reads the job that the tests write on stdin. */
export async function job() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks));
}
