// How can xterm.js draw under a Content-Security-Policy without 'unsafe-inline'? It writes its rules
// into style elements, which the policy refuses, empty ones too. Here a script that makes a style
// element gets an element that means nothing and hands its text to an adopted style sheet, which is
// no inline style (CSSOM, 6.3).

/** Only for as long as the terminal is shown; the answer undoes it. */
export function adoptStyles(within: Document): () => void {
  const create = within.createElement;
  within.createElement = function (this: Document, name: string, options?: ElementCreationOptions) {
    if (name.toLowerCase() !== "style") return create.call(this, name, options);
    return adopted(within, create.call(this, "template"));
  } as Document["createElement"];
  return () => {
    within.createElement = create;
  };
}

function adopted(within: Document, element: HTMLElement): HTMLElement {
  const sheet = new CSSStyleSheet();
  let text = "";
  const property = {
    get: () => text,
    set(value: string | null) {
      text = value ?? "";
      sheet.replaceSync(text);
      if (!within.adoptedStyleSheets.includes(sheet)) within.adoptedStyleSheets.push(sheet);
    },
  };
  Object.defineProperties(element, { textContent: property, innerText: property, sheet: { get: () => sheet } });
  element.remove = () => {
    within.adoptedStyleSheets = within.adoptedStyleSheets.filter((kept) => kept !== sheet);
    HTMLElement.prototype.remove.call(element);
  };
  return element;
}
