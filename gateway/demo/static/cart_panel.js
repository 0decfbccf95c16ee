// The cart of a device: lines, warnings, totals, checkout.

import { art } from "/demo/art.js";
import { pieces } from "/demo/cart.js";
import { described } from "/demo/catalogue.js";
import { counted, element, keyed, money } from "/demo/dom.js";

const MOST = 999;
const WARNINGS = {
  product_unknown: "is not in the catalogue any more",
  product_inactive: "is not sold any more",
  price_changed: "has another price now",
  currency_changed: "has a price in another currency now",
  out_of_stock: "is sold out",
  short_stock: "is not in stock in that quantity",
  catalogue_unavailable: "Prices cannot be compared at the moment.",
  pricing_unavailable: "Discounts and taxes are not known at the moment.",
};

export class CartPanel {
  /** `actions`: step(line, by), set(line, quantity), remove(line), order(email). */
  constructor(root, actions) {
    this.root = root;
    this.actions = actions;
    this.heading = root.querySelector("h3");
    this.form = root.querySelector(".checkout");
    this.form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = this.form.querySelector("button");
      button.setAttribute("aria-busy", "true");
      await this.actions.order(this.form.elements.email.value.trim());
      button.removeAttribute("aria-busy");
    });
  }

  /** Shows the cart as it is now. */
  show(cart) {
    const { document: shown } = cart;
    const count = pieces(shown);
    const lostFocus = this.#indexOfFocus();
    this.#find(".count").textContent = count ? counted(count, "piece") : "";
    this.#find(".empty").hidden = count > 0;
    this.form.hidden = count === 0;
    const freshness = this.#find(".freshness");
    freshness.hidden = !cart.isStale;
    freshness.textContent = "Stale: the copy in Postgres";
    keyed(this.#find(".lines"), shown.lines, ({ line_id: id }) => id, (line) => this.#row(line), (row, line) =>
      fill(row, line, shown.currency),
    );
    keyed(this.#find(".warnings"), cart.isStale ? [] : warningsOf(shown), (text) => text, () => element("li"), (row, text) => {
      row.textContent = text;
    });
    keyed(this.#find(".totals"), sums(shown), ({ name }) => name, total, (row, { amount }) => {
      row.querySelector("dd").textContent = money(amount, shown.currency);
    });
    if (count && cart.document.version !== this.orderedAt) this.forgetOrder();
    if (lostFocus >= 0 && !this.root.contains(document.activeElement)) this.#focusNear(lostFocus);
  }

  /** Says what went wrong; nothing with "". */
  notice(text) {
    const notice = this.#find(".notice");
    notice.textContent = text;
    notice.hidden = !text;
  }

  /** Shows what was ordered, and where the mail is; or that another system goes on with this checkout. */
  ordered(order, cartVersion, email, mailbox) {
    const total = money(order.totals.total, order.currency);
    const box = this.#find(".ordered");
    if (order.order_id) {
      box.replaceChildren(
        element("strong", { tabIndex: -1 }, `Ordered for ${total}.`),
        element("span", {}, ` The confirmation goes to ${email}: `),
        element("a", { href: mailbox, target: "_blank", rel: "noopener" }, "open the mailbox"),
        element("small", {}, order.order_id),
      );
    } else {
      box.replaceChildren(
        element("strong", { tabIndex: -1 }, `Checkout for ${total} begun.`),
        element("span", {}, " Orders are kept by another system, which completes it."),
        element("small", {}, order.token),
      );
    }
    this.orderedAt = cartVersion;
    box.hidden = false;
    box.querySelector("strong").focus();
  }

  forgetOrder() {
    this.#find(".ordered").hidden = true;
  }

  #find(selector) {
    return this.root.querySelector(selector);
  }

  #indexOfFocus() {
    return [...this.#find(".lines").children].findIndex((row) => row.contains(document.activeElement));
  }

  /** The line that had the focus is gone: its neighbour gets it, or the heading. */
  #focusNear(index) {
    const rows = this.#find(".lines").children;
    const near = rows[Math.min(index, rows.length - 1)];
    (near?.querySelector(".remove") ?? this.heading).focus();
  }

  #row(line) {
    const row = element(
      "li",
      { class: "line" },
      art(described(line)),
      element("p", { class: "name" }),
      element(
        "div",
        { class: "stepper", role: "group" },
        element("button", { type: "button", class: "less" }, "−"),
        element("input", { type: "number", min: 0, max: MOST, inputMode: "numeric" }),
        element("button", { type: "button", class: "more" }, "+"),
      ),
      element("p", { class: "each" }),
      element("p", { class: "sum" }),
      element("button", { type: "button", class: "remove" }, "×"),
    );
    const quantity = row.querySelector("input");
    row.querySelector(".less").addEventListener("click", () => this.actions.step(row.line, -1));
    row.querySelector(".more").addEventListener("click", () => this.actions.step(row.line, 1));
    row.querySelector(".remove").addEventListener("click", () => this.actions.remove(row.line));
    // What is being typed is not overwritten, unless the quantity itself has changed.
    quantity.addEventListener("input", () => (row.isTyping = true));
    quantity.addEventListener("change", () => {
      row.isTyping = false;
      const wanted = Number(quantity.value);
      if (quantity.value !== "" && quantity.checkValidity()) this.actions.set(row.line, wanted);
      else quantity.value = row.line.quantity;
    });
    return row;
  }
}

function fill(row, line, currency) {
  const { name, total } = described(line);
  const hasChanged = row.line && row.line.quantity !== line.quantity;
  row.line = line;
  row.querySelector(".name").textContent = name;
  row.querySelector(".each").textContent = `${money(line.unit_price, currency)} each`;
  row.querySelector(".sum").textContent = money(total, currency);
  row.querySelector(".stepper").setAttribute("aria-label", `Quantity of ${name}`);
  row.querySelector(".less").setAttribute("aria-label", `One less: ${name}`);
  row.querySelector(".more").setAttribute("aria-label", `One more: ${name}`);
  row.querySelector(".remove").setAttribute("aria-label", `Remove ${name}`);
  const quantity = row.querySelector("input");
  quantity.setAttribute("aria-label", `Pieces of ${name}`);
  if (hasChanged || !row.isTyping) quantity.value = line.quantity;
  if (hasChanged) flash(row);
}

/** Lets the eye find the line that has changed. */
function flash(row) {
  row.classList.remove("flash");
  void row.offsetWidth; // starts the animation again
  row.classList.add("flash");
}

function warningsOf({ lines, warnings = [] }) {
  return warnings.map(({ code, target }) => {
    const line = lines.find(({ line_id: id }) => id === target);
    const text = WARNINGS[code] ?? code;
    return line ? `${described(line).name} ${text}.` : text;
  });
}

function sums({ totals, adjustments = [] }) {
  const all = [{ name: "Subtotal", amount: totals.subtotal }];
  all.push(...adjustments.map(({ code, amount }) => ({ name: code, amount })));
  return [...(adjustments.length ? all : []), { name: "Total", amount: totals.total }];
}

function total({ name }) {
  return element("div", { class: name === "Total" ? "whole" : "" }, element("dt", {}, name), element("dd"));
}
