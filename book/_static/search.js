"use strict";

// The results' excerpts are cut from the pages' texts (texts.js): a page that was opened from a
// folder may not read others.
{
  const read = window.fetch;
  const site = new URL(".", location.href).href;
  window.fetch = (address, ...options) => {
    const text = window.TEXTS[new URL(address, location.href).href.replace(site, "")];
    return text === undefined ? read(address, ...options) : Promise.resolve(new Response(text));
  };
}
