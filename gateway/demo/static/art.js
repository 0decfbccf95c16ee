// Drawings for products without an image: a shape for what it is, a hue for which one it is.

const cup =
  '<path class="d" d="M48 36c-5-6 5-8 0-15M62 36c-5-6 5-8 0-15"/><path class="c" d="M78 56h8a9 9 0 0 1 0 18h-9"/>' +
  '<path class="a" d="M30 46h50v26a20 20 0 0 1-20 20H50a20 20 0 0 1-20-20z"/>' +
  '<rect class="b" x="22" y="95" width="66" height="6" rx="3"/>';

const SHAPES = {
  cup,
  mug:
    '<rect class="a" x="42" y="32" width="38" height="66" rx="9"/><rect class="b" x="38" y="22" width="46" height="13" rx="6"/>' +
    '<rect class="b" x="42" y="56" width="38" height="18"/>',
  bowl:
    '<path class="a" d="M24 50h72a36 36 0 0 1-72 0z"/><rect class="b" x="46" y="86" width="28" height="8" rx="3"/>' +
    '<path class="d" d="M52 42c-5-6 5-8 0-15M66 42c-5-6 5-8 0-15"/>',
  glass: '<path class="e" d="M36 26h48l-6 72H42z"/><path class="a" d="M39 54h42l-4 44H42z"/>',
  moka:
    '<path class="c" d="M82 40h10v26"/><path class="b" d="M38 98l6-36h32l6 36z"/><path class="a" d="M44 60l-8-26h48l-8 26z"/>' +
    '<path class="b" d="M46 32l14-10 14 10z"/>',
  press:
    '<path class="c" d="M80 46h12v34H80"/><rect class="e" x="36" y="38" width="44" height="60" rx="6"/>' +
    '<rect class="a" x="36" y="60" width="44" height="38" rx="6"/><rect class="b" x="33" y="32" width="50" height="8" rx="4"/>' +
    '<path class="c" d="M58 32V18"/><circle class="b" cx="58" cy="17" r="6"/>',
  dripper:
    '<path class="a" d="M26 34h68L70 72H50z"/><rect class="b" x="36" y="74" width="48" height="8" rx="4"/>' +
    '<path class="b" d="M60 88c5 6 5 11 0 11s-5-5 0-11z"/>',
  filters: '<path class="b" d="M42 26h52L74 82H62z"/><path class="a" d="M28 36h54L62 94H48z"/><path class="d" d="M46 44l7 42"/>',
  grinder:
    '<path class="c" d="M60 42V28h26"/><circle class="b" cx="88" cy="28" r="7"/><rect class="a" x="42" y="42" width="36" height="56" rx="8"/>' +
    '<rect class="b" x="42" y="64" width="36" height="8"/>',
  kettle:
    '<path class="c" d="M42 88c-20 0-14-34-26-40M80 54c22-4 20 26 8 32"/><path class="a" d="M38 98l6-46h32l8 46z"/>' +
    '<rect class="b" x="40" y="44" width="40" height="9" rx="4"/><circle class="b" cx="60" cy="39" r="5"/>',
  strainer: '<path class="c" d="M76 50h30"/><path class="a" d="M22 46h56a28 28 0 0 1-56 0z"/><path class="d" d="M34 54h32M38 62h24M44 69h12"/>',
  bag:
    '<path class="a" d="M38 32h44l6 66H32z"/><rect class="b" x="38" y="22" width="44" height="12" rx="3"/>' +
    '<rect class="e" x="43" y="50" width="34" height="34" rx="6"/><ellipse class="b" cx="60" cy="67" rx="8" ry="11"/><path class="f" d="M60 57c-5 7 5 12 0 20"/>',
  tin:
    '<rect class="a" x="36" y="38" width="48" height="60" rx="6"/><rect class="b" x="33" y="27" width="54" height="14" rx="5"/>' +
    '<path class="e" d="M47 82c0-20 10-26 27-26 0 18-10 27-27 26z"/><path class="f" d="M47 82c7-9 13-14 20-19"/>',
  towel: '<path class="a" d="M34 24h52v70H34z"/><path class="d" d="M34 78h52M34 86h52"/><rect class="b" x="28" y="20" width="64" height="7" rx="3"/>',
  jar:
    '<rect class="a" x="34" y="40" width="52" height="58" rx="14"/><rect class="b" x="42" y="26" width="36" height="16" rx="5"/>' +
    '<rect class="e" x="45" y="58" width="30" height="20" rx="5"/>',
  gift:
    '<rect class="a" x="22" y="42" width="76" height="50" rx="8"/><rect class="b" x="54" y="42" width="12" height="50"/>' +
    '<path class="c" d="M60 42c-22-2-20-22-8-20 6 1 8 10 8 20 0-10 2-19 8-20 12-2 14 18-8 20"/>',
};
const OF_PRODUCT = {
  "travel-mug": "mug", "tea-bowl": "bowl", "water-glass": "glass", "moka-pot": "moka", "french-press": "press",
  "paper-filters": "filters", "hand-grinder": "grinder", kettle: "kettle", "tea-strainer": "strainer",
  "tea-towel": "towel",
};
const OF_CATEGORY = { cups: "cup", brewing: "dripper", coffee: "bag", tea: "tin", kitchen: "jar", gifts: "gift" };
const HUES = [32, 60, 145, 178, 220, 262, 340, 12, 95];

/** The picture of a product, for the eye only: its own image if it is one of this site, else a drawing. */
export function art({ product_id: id, category, image_url: image }) {
  const picture = document.createElement("div");
  picture.className = "art";
  if (image?.startsWith("/")) {
    picture.append(Object.assign(new Image(), { src: image, alt: "", loading: "lazy" }));
    return picture;
  }
  const shape = SHAPES[OF_PRODUCT[id] ?? OF_CATEGORY[category]] ?? SHAPES.jar;
  const number = [...id].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 9973, 7);
  picture.style.setProperty("--hue", HUES[number % HUES.length]);
  picture.innerHTML = `<svg viewBox="0 0 120 120" aria-hidden="true" focusable="false">${shape}</svg>`;
  return picture;
}
