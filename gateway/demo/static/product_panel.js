// The products of a device: search, categories, a card for each.

import { art } from "/demo/art.js";
import { find } from "/demo/catalogue.js";
import { element, keyed, money } from "/demo/dom.js";
import { pause } from "/demo/api.js";

const TYPING_MS = 150;
const READ_AGAIN_MS = 300;
const NOTHING = "No product has all of these words.";
const NO_CATALOGUE = "This gateway has no catalogue, so there is nothing to add.";

export class ProductPanel {
  /** `add(product)` is called for the product that a shopper wants. */
  constructor(root, add) {
    this.root = root;
    this.add = add;
    this.category = "";
    this.asked = 0;
    this.search = root.querySelector(".search");
    this.grid = root.querySelector(".grid");
    this.search.addEventListener("submit", (event) => {
      event.preventDefault();
      this.show();
    });
    this.search.elements.q.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.show(), TYPING_MS);
    });
  }

  /** Shows what was searched for; waits for a catalogue that is being restored. A later call takes over. */
  async show() {
    const asked = ++this.asked;
    const query = this.search.elements.q.value.trim();
    let found;
    while ((found = await find(query, this.category)) === null) {
      if (asked !== this.asked) return;
      await pause(READ_AGAIN_MS);
    }
    if (asked !== this.asked) return;
    const { products, hasCatalogue } = found;
    if (!query && !this.category) this.#showCategories(products);
    const nothing = this.root.querySelector(".nothing");
    nothing.hidden = products.length > 0;
    nothing.textContent = hasCatalogue ? NOTHING : NO_CATALOGUE;
    keyed(this.grid, products, (product) => product.product_id, (product) => this.#card(product), fill);
  }

  #card(product) {
    const card = element(
      "li",
      { class: "card" },
      art(product),
      element("h4", {}),
      element("p", { class: "about" }),
      element("p", { class: "price" }),
      element("button", { type: "button" }, "Add", element("span", { class: "unseen" })),
    );
    card.querySelector("button").addEventListener("click", () => this.add(card.product));
    return card;
  }

  #showCategories(products) {
    const names = [...new Set(products.map(({ category }) => category).filter(Boolean))];
    const list = this.root.querySelector(".categories");
    keyed(list, ["", ...names], (name) => name, (name) => this.#chip(name), (chip, name) =>
      chip.setAttribute("aria-pressed", String(name === this.category)),
    );
  }

  #chip(name) {
    const chip = element("button", { type: "button", class: "chip" }, name || "all");
    chip.addEventListener("click", () => {
      this.category = name;
      for (const each of this.root.querySelectorAll(".chip")) {
        each.setAttribute("aria-pressed", String(each === chip));
      }
      this.show();
    });
    return chip;
  }
}

function fill(card, product) {
  card.product = product;
  card.querySelector("h4").textContent = product.name;
  card.querySelector(".about").textContent = product.description;
  card.querySelector(".price").textContent = money(product.unit_price, product.currency);
  const button = card.querySelector("button");
  button.disabled = product.stock === 0;
  button.querySelector("span").textContent = ` ${product.name}`;
}
