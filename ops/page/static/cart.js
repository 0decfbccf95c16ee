// One cart as each store has it, side by side, what differs, and its last operations.

import { get } from "/ops/static/api.js";
import { element, money } from "/ops/static/dom.js";
import { clock, number } from "/ops/static/format.js";
import { fill } from "/ops/static/table.js";

const form = document.querySelector("#find");
const field = document.querySelector("#cart-id");
const found = document.querySelector("#found");
const button = form.querySelector("button");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  history.replaceState(null, "", `?cart=${encodeURIComponent(field.value.trim())}#cart`);
  look();
});

/** A link to the cart, anywhere on the page. */
export const cartLink = (cartId) => (where) => {
  if (where.textContent === cartId) return;
  where.replaceChildren(
    element("a", { href: `?cart=${encodeURIComponent(cartId)}#cart`, textContent: cartId, onclick: follow(cartId) }),
  );
};

const follow = (cartId) => (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.replaceState(null, "", event.currentTarget.href);
  find(cartId);
};

export function find(cartId) {
  field.value = cartId;
  document.querySelector("#cart").scrollIntoView();
  field.focus({ preventScroll: true });
  look();
}

async function look() {
  button.disabled = true;
  found.replaceChildren(element("p", { class: "hint", textContent: "Looking into Redis, Kafka and Postgres …" }));
  try {
    shown(await get(`carts?id=${encodeURIComponent(field.value.trim())}`));
  } catch (error) {
    found.replaceChildren(element("p", { class: "error", textContent: error.message }));
  } finally {
    button.disabled = false;
  }
}

function shown(cart) {
  const waiting = cart.waiting ? `, ${number(cart.waiting)} of its changes wait in the Redis outbox` : "";
  found.replaceChildren(
    element("p", { class: "where" }, element("strong", { textContent: cart.cart_id }), ` is in partition ${cart.partition}${waiting}.`),
    differences(cart),
    element("div", { class: "copies" }, ...cart.copies.map((copy) => card(copy, cart.copies))),
    ...orders(cart),
    ...merges(cart),
    element("h3", { textContent: "Last operations" }),
    element("p", { class: "hint", textContent: `From ${cart.past.source}; newest first.` }),
    scrolled("Last operations", events(cart)),
  );
}

function differences(cart) {
  if (!cart.differences.length) {
    const versions = new Set(cart.copies.map((copy) => copy.version).filter(Boolean));
    const text = versions.size ? "The stores agree." : "No store has such a cart.";
    return element("p", { class: versions.size ? "agree" : "hint", textContent: text });
  }
  const items = cart.differences.map((each) =>
    element("li", {}, element("strong", { textContent: `${each.meaning}. ` }), `${each.detail}. `, element("span", { class: "do", textContent: each.do })),
  );
  return element(
    "div",
    { class: "differ" },
    element("p", { textContent: "The stores differ. While the cart changes that is so for a moment: look again." }),
    element("ul", {}, ...items),
  );
}

function card(copy, all) {
  const newest = all.map((each) => each.version).filter(Boolean).sort(byVersion).at(-1);
  const list = element("dl");
  const say = (name, value, kind = "") => {
    if (value) list.append(element("dt", { textContent: name }), element("dd", { textContent: value, class: kind }));
  };
  say("version", copy.version, copy.version && copy.version !== newest ? "behind" : "");
  say("status", copy.status);
  say("changed", copy.updated_at && clock(copy.updated_at));
  say("subtotal", copy.subtotal !== null && copy.currency && money(copy.subtotal, copy.currency));
  say("knows", copy.knows.join(", "));
  const lines = element("ul", { class: "lines" });
  for (const line of copy.lines) {
    const options = Object.values(line.options).join(", ");
    lines.append(
      element("li", {}, element("b", { textContent: `${line.quantity} × ` }), line.product_id + (options ? ` (${options})` : ""), element("span", { textContent: money(line.unit_price, copy.currency) })),
    );
  }
  const note = copy.note ? [element("p", { class: "hint", textContent: copy.note })] : [];
  return element("article", {}, element("h3", { textContent: copy.store }), ...note, list, lines);
}

function byVersion(one, other) {
  const [v, n] = one.split("-").map(Number);
  const [otherV, otherN] = other.split("-").map(Number);
  return v - otherV || n - otherN;
}

function orders(cart) {
  if (!cart.orders.length) return [];
  const text = cart.orders.map((order) => `${order.order_id} (${order.status}, ${clock(order.placed_at)})`).join("; ");
  return [element("h3", { textContent: "Orders" }), element("p", { textContent: text })];
}

function merges(cart) {
  if (!cart.merges.length) return [];
  const text = cart.merges.map((merge) => `${merge.guest} into ${merge.into} (${merge.finished_at ? clock(merge.finished_at) : "under way"})`).join("; ");
  return [element("h3", { textContent: "Merges" }), element("p", { textContent: text })];
}

function events(cart) {
  const table = element("table");
  fill(table, [...cart.past.events].reverse(), (event) => `${event.version}/${event.op_id}`, [
    ["at", (event) => clock(event.at)],
    ["did", (event) => event.steps.join("; "), "long"],
    ["by", (event) => [event.actor, event.cause].filter(Boolean).join(", ")],
    ["operation", (event) => event.op_id],
    ["offset", (event) => event.place],
  ], "None in what was read.");
  return table;
}

const scrolled = (label, table) => element("div", { class: "scroll", tabIndex: 0, role: "group", "aria-label": label }, table);
