// Makes each call of the job in the page, in order, and prints what came of them.
import { browse, job } from "./chromium.mjs";

const { calls, ...where } = await job();
const outcome = await browse(where, async (page) => {
  await page.waitForFunction("window.ready");
  const replies = [];
  for (const call of calls) replies.push(await page.evaluate((call) => window.call(...call), call));
  return replies;
});
console.log(JSON.stringify(outcome));
