// Fills in the example page as its user would, and prints what the page shows after each click.
import { browse, job } from "./chromium.mjs";

const { server, token, steps, ...where } = await job();
const outcome = await browse(where, async (page) => {
  const shown = [];
  const read = async () => ({
    kind: await page.getAttribute("#outcome", "class"),
    heading: await page.textContent("#heading"),
    body: await page.textContent("#body"),
  });
  await page.waitForSelector("#add button:enabled");
  shown.push(await read());
  await page.fill("#server", server);
  await page.fill("#token", token);
  for (const { form, fill, screenshot } of steps) {
    for (const [id, value] of Object.entries(fill)) await page.fill(`#${id}`, value);
    await page.click(`#${form} button`);
    await page.waitForSelector("#outcome:is(.ok, .error)");
    shown.push(await read());
    if (screenshot) await page.screenshot({ path: screenshot });
  }
  return shown;
});
console.log(JSON.stringify(outcome));
