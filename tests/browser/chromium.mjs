// Which browser opens the pages, and what may it not complain of? Debian's Chromium, whose console stays empty.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const PROGRAM = process.env.PORTREEVE_CHROMIUM ?? "/usr/bin/chromium";
/** The longest that anything on a page may take, on a busy machine. */
export const SHOWN_AT_MOST_MS = 20_000;
const WIDE = { width: 1280, height: 900 };

/** What a person without sight of the log would never see: told at the end of each step. */
export class Complaints {
  #all = [];
  /** A status that the step asks for: the browser writes every answer that says no to its console. */
  expected;
  /** A step has cut the way to the server: connections break. */
  cut = false;

  listen(page) {
    page.on("console", (line) => {
      if (line.type() === "error" || line.type() === "warning") this.#add(`${line.type()}: ${line.text()} (${line.location().url})`);
    });
    page.on("pageerror", (error) => this.#add(`exception: ${error.stack ?? error.message}`));
  }

  #add(text) {
    // each container that comes or goes changes this machine's network, and Chromium lets connections go
    if (text.includes("net::ERR_NETWORK_CHANGED")) return;
    // a test cut the way
    if (this.cut && text.includes("net::ERR_")) return;
    // a picture is taken of what a GPU would draw, and there is none
    if (text.includes("GL Driver Message")) return;
    // xterm.js, on a machine that is busy with other work
    if (text.includes("task queue exceeded allotted deadline")) return;
    if (!text.includes(`responded with a status of ${this.expected}`)) this.#all.push(text);
  }

  /** Fails with everything that was said since the last time. */
  none(step) {
    if (this.#all.length > 0) throw new Error(`in "${step}" the browser complained`);
  }

  text() {
    return this.#all.map((said) => `the browser said ${said}`).join("\n");
  }
}

export async function launch() {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: deploy/dev/tools.sh installs it`);
  // root has no user namespaces to give away, and a container's /dev/shm is small
  return chromium.launch({ executablePath: PROGRAM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A browser of its own: no cookie, nothing kept. */
export async function person(browser, url, complaints, look = {}) {
  const context = await browser.newContext({
    baseURL: url,
    viewport: WIDE,
    locale: "en-GB",
    colorScheme: "light",
    reducedMotion: "reduce",
    permissions: ["clipboard-read", "clipboard-write"],
    ...look,
  });
  context.setDefaultTimeout(SHOWN_AT_MOST_MS);
  const page = await context.newPage();
  complaints.listen(page);
  return page;
}
