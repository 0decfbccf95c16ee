// One device of the demo: a shop page with a session of its own, kept in a place of its own.

import { cartPath, newKey, pause, reason, send } from "/demo/api.js";
import { Cart, pieces } from "/demo/cart.js";
import { CartPanel } from "/demo/cart_panel.js";
import { described } from "/demo/catalogue.js";
import { counted, money } from "/demo/dom.js";
import { merge } from "/demo/merge.js";
import { ProductPanel } from "/demo/product_panel.js";

const READ_AGAIN_MS = 100;
const FOLLOWS = { stream: "live", polling: "polling" };

export class Device extends EventTarget {
  /** `root`: the empty section; `log(device, what, details)`: tells the page what happened. */
  constructor(root, template, log) {
    super();
    this.root = root;
    this.name = root.getAttribute("aria-label");
    this.storage = `cartstream-demo:${root.dataset.device}`;
    this.session = JSON.parse(localStorage.getItem(this.storage)) ?? { guest: null, user: null };
    this.log = (what, ...details) => log(this.name, what, details);
    this.changing = 0;
    root.append(template.content.cloneNode(true));
    this.#find("h2").textContent = this.name;
    this.#find(".products").setAttribute("aria-label", `${this.name}: products`);
    this.#find(".cart").setAttribute("aria-label", `${this.name}: cart`);
    this.products = new ProductPanel(this.#find(".products"), (product) => this.#add(product));
    this.panel = new CartPanel(this.#find(".cart"), {
      step: (line, by) => this.#step(line, by),
      set: (line, quantity) => this.#set(line, quantity),
      remove: (line) => this.#remove(line),
      order: (email) => this.#order(email),
    });
    this.#find(".login").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#login(event.target.elements.name.value.trim());
    });
    this.#find(".account button").addEventListener("click", () => this.#logout());
  }

  get pieces() {
    return pieces(this.cart.document);
  }

  /** Shows products and the cart that this device had last. */
  async start() {
    const showing = this.products.show();
    await this.#open(this.session.user ? `user:${this.session.user}` : await this.#guest());
    await showing;
  }

  /** After Redis was wiped: reads until Redis has cart and catalogue again. `stale` is called for stale reads. */
  async comeBack(stale) {
    for (;;) {
      const reply = await this.cart.read();
      const isPriced = !this.cart.document.warnings?.some(({ code }) => code === "catalogue_unavailable");
      if (reply.ok && this.cart.isStale) stale();
      if ((reply.ok || reply.status === 304) && !this.cart.isStale && isPriced) break;
      await pause(READ_AGAIN_MS);
    }
    await this.products.show();
  }

  #find(selector) {
    return this.root.querySelector(selector);
  }

  /** The id of this device's guest cart; minted when it has none. */
  async #guest() {
    while (!this.session.guest) {
      const { ok, body } = await send("POST", "/v1/carts");
      if (ok) this.#keep({ guest: { cart_id: body.cart_id, token: body.token } });
      else await pause(1000);
    }
    return this.session.guest.cart_id;
  }

  #keep(changed) {
    this.session = { ...this.session, ...changed };
    localStorage.setItem(this.storage, JSON.stringify(this.session));
  }

  async #open(cartId) {
    this.cart?.close();
    const cart = new Cart(cartId);
    this.cart = cart;
    cart.addEventListener("changed", () => this.#changed());
    cart.addEventListener("follows", () => this.#showSession());
    this.#showSession();
    this.panel.show(cart);
    this.dispatchEvent(new Event("changed"));
    await cart.read();
    this.isOpen = this.cart === cart;
    cart.follow();
  }

  #changed() {
    this.panel.show(this.cart);
    this.dispatchEvent(new Event("changed"));
    const { version } = this.cart.document;
    const isNew = version !== this.shownVersion;
    this.shownVersion = version;
    if (!isNew || !this.isOpen || this.changing || this.cart.isStale) return;
    this.#say(`Cart updated. ${this.#sum()}`);
    this.log(`follows: ${this.#sum()}`, `version ${version}`);
  }

  #sum() {
    const { totals, currency } = this.cart.document;
    return this.pieces ? `${counted(this.pieces, "piece")}, ${money(totals.total, currency)}` : "the cart is empty";
  }

  #say(text) {
    this.#find(".said").textContent = text;
  }

  #showSession() {
    const { user } = this.session;
    const follows = this.#find(".follows");
    follows.textContent = FOLLOWS[this.cart.followedBy] ?? "connecting";
    follows.dataset.how = this.cart.followedBy ?? "";
    this.#find(".login").hidden = Boolean(user);
    this.#find(".account").hidden = !user;
    this.#find(".account strong").textContent = user ?? "";
  }

  // Changes of the cart -------------------------------------------------------------------------------------

  #add(product) {
    const body = {
      product_id: product.product_id,
      quantity: 1,
      unit_price: product.unit_price,
      currency: product.currency,
    };
    return this.#change(`adds ${product.name}`, () => ({ method: "POST", path: "/items", body }));
  }

  #step(line, by) {
    return this.#change(`${by > 0 ? "one more" : "one less"}: ${described(line).name}`, (cart) => {
      const now = cart.lines.find(({ line_id }) => line_id === line.line_id);
      return now ? lineChange(now, { quantity: now.quantity + by }) : null;
    });
  }

  #set(line, quantity) {
    return this.#change(`sets ${described(line).name} to ${quantity}`, () => lineChange(line, { quantity }));
  }

  #remove(line) {
    const path = linePath(line);
    return this.#change(`removes ${described(line).name}`, () => ({ method: "DELETE", path }));
  }

  async #change(what, decide) {
    this.panel.notice("");
    this.changing += 1;
    const reply = await this.cart.change(decide);
    this.changing -= 1;
    if (reply === null) return;
    if (!reply.ok) {
      this.panel.show(this.cart);
      this.panel.notice(reason(reply));
      this.log(`${what}: refused`, reason(reply));
      this.products.show(); // a price or the stock may have changed
      return;
    }
    this.log(what, ...receipt(reply));
    this.#say(`${this.name} ${what}. ${this.#sum()}`);
  }

  // Login, checkout -----------------------------------------------------------------------------------------

  async #login(user) {
    const { guest } = this.session;
    const hadFocus = this.#find(".login").contains(document.activeElement);
    const brings = guest !== null && this.pieces > 0;
    this.#keep({ user });
    this.isOpen = false;
    await this.#open(`user:${user}`);
    if (hadFocus) this.#find(".account button").focus();
    this.log(`logs in as ${user}`, this.#sum());
    if (!brings) return;
    const merged = await merge(guest.cart_id, this.cart.id);
    this.log(...merged.told);
    if (merged.ok) this.#keep({ guest: null });
    else this.panel.notice(merged.told[0]);
    this.changing += 1;
    await this.cart.read();
    this.changing -= 1;
    this.#say(`Logged in as ${user}. ${this.#sum()}`);
  }

  async #logout() {
    const hadFocus = this.#find(".account").contains(document.activeElement);
    this.#keep({ user: null });
    this.isOpen = false;
    this.panel.forgetOrder();
    await this.#open(await this.#guest());
    this.log("logs out", "a guest cart again");
    if (hadFocus) this.#find(".login input").focus();
  }

  async #order(email) {
    if (this.ordering) return;
    this.ordering = true;
    this.changing += 1;
    this.panel.notice("");
    const { version, totals, currency } = this.cart.document;
    // A second press for the same cart is a retry: the same key, the same order.
    if (this.lastOrder?.version !== version) this.lastOrder = { version, key: newKey() };
    const body = { email, expected_total: totals.total };
    const reply = await send("POST", `${cartPath(this.cart.id)}/checkout`, { body, key: this.lastOrder.key });
    if (reply.ok) {
      this.panel.ordered(reply.body, version, email, document.querySelector("#mailbox").href);
      const { order_id: order, token } = reply.body;
      this.log(`orders for ${money(totals.total, currency)}`, order ?? `checkout ${token}`, `${reply.milliseconds} ms`);
    } else {
      this.panel.notice(reason(reply));
      this.log("order: refused", reason(reply));
    }
    await this.cart.read();
    this.changing -= 1;
    this.ordering = false;
  }
}

const linePath = (line) => `/items/${encodeURIComponent(line.line_id)}`;
const lineChange = (line, body) => ({ method: "PATCH", path: linePath(line), body });

/** Where a change is, and what it took to get there. */
function receipt(reply) {
  const durability = /durability=(\w+)/.exec(reply.headers.get("preference-applied") ?? "");
  return [
    durability && `durability ${durability[1]}`,
    reply.headers.get("cart-receipt"),
    reply.headers.get("idempotency-replayed") && "replayed, not applied twice",
    reply.attempts > 1 && `${reply.attempts} attempts with one key`,
    reply.decisions > 1 && "412: read and decided again",
    `${reply.milliseconds} ms`,
  ].filter(Boolean);
}
