// How can xterm.js draw under a Content-Security-Policy without 'unsafe-inline'? It writes its rules
// into style elements, which the policy refuses. Here a style element that a script makes hands its
// text to an adopted style sheet, which is no inline style (CSSOM, 6.3).

/** Only for as long as the terminal is shown; the answer undoes it. */
export function adoptStyles(within: Document): () => void {
  const create = within.createElement;
  within.createElement = function (this: Document, name: string, options?: ElementCreationOptions) {
    const element = create.call(this, name, options);
    if (element instanceof HTMLStyleElement) redirect(within, element);
    return element;
  } as Document["createElement"];
  return () => {
    within.createElement = create;
  };
}

function redirect(within: Document, element: HTMLStyleElement): void {
  const sheet = new CSSStyleSheet();
  let text = "";
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set(value: string | null) {
      text = value ?? "";
      sheet.replaceSync(text);
      if (!within.adoptedStyleSheets.includes(sheet)) within.adoptedStyleSheets.push(sheet);
    },
  });
  element.remove = () => {
    within.adoptedStyleSheets = within.adoptedStyleSheets.filter((adopted) => adopted !== sheet);
    HTMLElement.prototype.remove.call(element);
  };
}
