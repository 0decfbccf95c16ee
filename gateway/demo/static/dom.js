// Small helpers for the page: elements, money, lists that keep what has the focus.

/** An element with properties and children; `class` and `aria-…` are set as attributes. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class" || name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** Minor units as people read them. */
export function money(amount, currency) {
  const format = new Intl.NumberFormat("en", { style: "currency", currency: currency ?? "EUR" });
  return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
}

export const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/**
 * Makes the children of `list` those of `items`, in order. A child whose key stays is updated, never replaced, so
 * the focus stays where it is. `make(item)` returns an element, `update(element, item)` fills it.
 */
export function keyed(list, items, keyOf, make, update) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const key = String(keyOf(item));
    const child = old.get(key) ?? make(item);
    child.dataset.key = key;
    update(child, item);
    old.delete(key);
    return child;
  });
  for (const gone of old.values()) gone.remove();
  wanted.forEach((child, index) => {
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] ?? null);
  });
}
