// What does a person do in the browser, from the sign-in to the sign-out? One story against an
// installation that runs (`PORTREEVE_URL`, `PORTREEVE_TOKEN` of its administrator), and a machine whose root lets it
// in (`PORTREEVE_MACHINE` as host:port, `PORTREEVE_MACHINE_PASSWORD`).
//
//   PORTREEVE_SHOTS=folder   keeps a picture of each page as it was looked at
import { mkdirSync } from "node:fs";
import { launch, person, Complaints } from "./chromium.mjs";
import { audit } from "./axe.mjs";
import { enter } from "./enter.mjs";
import { steps } from "./story.mjs";
import { looks } from "./looks.mjs";
import { prepare } from "./people.mjs";

const url = process.env.PORTREEVE_URL;
const token = process.env.PORTREEVE_TOKEN;
if (!url || !token) {
  console.error("run.mjs: PORTREEVE_URL and PORTREEVE_TOKEN name the installation and its administrator");
  process.exit(64);
}
const [host, port] = process.env.PORTREEVE_MACHINE?.split(":") ?? [];
const machine = { host, port, password: process.env.PORTREEVE_MACHINE_PASSWORD };
if (!host || !port || !machine.password) {
  console.error("run.mjs: PORTREEVE_MACHINE and PORTREEVE_MACHINE_PASSWORD name a machine and the password of its root");
  process.exit(64);
}
const shots = process.env.PORTREEVE_SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

const browser = await launch();
const complaints = new Complaints();
const world = {
  ...(await prepare(url, token)),
  page: await person(browser, url, complaints),
  complaints,
  url,
  machine,
  /** Somebody signs in, the story's own person if nobody is named. */
  enter: (page, who = world) => enter(page, who),
  another: (look) => person(browser, url, complaints, look),
  /** Looks at a page as it is now: for everybody's use, and for the eye. */
  async look(page, name) {
    await audit(page, name);
    if (shots) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
  },
};

let under = "the start";
try {
  for (const [name, step, refusal] of [...steps, ...looks]) {
    const began = performance.now();
    under = name;
    complaints.expected = refusal;
    await step(world);
    complaints.none(name);
    console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(5)} s  ${name}`);
  }
} catch (error) {
  console.error(`in the step "${under}": ${error.stack}`);
  console.error(complaints.text());
  for (const page of browser.contexts().flatMap((context) => context.pages())) {
    if (shots) await page.screenshot({ path: `${shots}/failed.png`, fullPage: true }).catch(() => {});
    console.error(`${page.url()} then:\n${await page.locator("body").ariaSnapshot({ timeout: 2000 }).catch(String)}`);
  }
  process.exitCode = 1;
} finally {
  await browser.close();
}
