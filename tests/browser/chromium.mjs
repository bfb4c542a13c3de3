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

/** Runs `visit(page)` on a page of Chromium; resolves to its result, the page's complaints and every preflight sent. */
export async function browse({ chromium: executablePath, url }, visit) {
  const browser = await chromium.launch({ executablePath, args: QUIET });
  try {
    const page = await browser.newPage({ viewport: { width: 960, height: 1080 } });
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    const preflights = await notePreflights(page);
    await page.goto(url);
    const result = await visit(page);
    return { result, complaints, preflights };
  } finally {
    await browser.close();
  }
}

// Playwright hides preflights; the DevTools protocol shows them.
async function notePreflights(page) {
  const preflights = [];
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Network.enable");
  devtools.on("Network.responseReceived", ({ type, response }) => {
    if (type === "Preflight") preflights.push({ url: response.url, status: response.status });
  });
  return preflights;
}

/** Reads the job that the tests write on stdin. */
export async function job() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks));
}
