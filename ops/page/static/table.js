// Tables that are filled again and again: rows that stay are updated, so that the focus stays where it is.

import { element, keyed } from "/ops/static/dom.js";

/**
 * `columns`: [heading, cell(row), class]. A cell is text, or a function that fills the td itself. Without rows the
 * table says `nothing`.
 */
export function fill(table, rows, keyOf, columns, nothing) {
  if (!table.tHead) {
    const head = table.createTHead().insertRow();
    for (const [heading, , kind] of columns) {
      head.append(element("th", { scope: "col", class: kind ?? "", textContent: heading }));
    }
    table.append(element("tbody"));
  }
  const body = table.tBodies[0];
  const shown = rows.length ? rows.map((row) => ({ key: keyOf(row), row })) : [{ key: "", row: null }];
  keyed(
    body,
    shown,
    (each) => each.key,
    ({ row }) => (row ? made(columns) : said(columns.length)),
    (line, { row }) => {
      if (row === null) line.cells[0].textContent = nothing;
      else columns.forEach(([, cell], index) => show(line.cells[index], cell(row)));
    },
  );
}

function made(columns) {
  return element("tr", {}, ...columns.map(([, , kind], index) => cell(kind, index)));
}

function cell(kind, index) {
  return index ? element("td", { class: kind ?? "" }) : element("th", { scope: "row", class: kind ?? "" });
}

const said = (columns) => element("tr", { class: "nothing" }, element("td", { colSpan: columns }));

/** Text, or whatever a function makes of the element; nothing is touched that is so already. */
export function show(where, what) {
  if (typeof what === "function") what(where);
  else if (where.textContent !== String(what)) where.textContent = what;
}

/** A cell with a coloured state. */
export const state = (text, kind) => (where) => {
  if (where.dataset.text === text && where.dataset.kind === kind) return;
  where.dataset.text = text;
  where.dataset.kind = kind;
  where.replaceChildren(element("span", { class: `state ${kind}`, textContent: text }));
};
