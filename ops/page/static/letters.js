// Dead letters: the list, one of them in a dialog, retry and drop. Nothing is dropped without a question.

import { get, post } from "/ops/static/api.js";
import { counted, element } from "/ops/static/dom.js";
import { bytes, clock } from "/ops/static/format.js";
import { fill, show } from "/ops/static/table.js";

const section = document.querySelector("#letters");
const table = section.querySelector("table");
const said = section.querySelector("#letters-said");
const retryAll = section.querySelector("#retry-all");
const dropAll = section.querySelector("#drop-all");
const dialog = document.querySelector("#letter");
const ask = document.querySelector("#ask");
const badge = document.querySelector("#letters-badge");
let open = null;
let tag = null;
let position = null;
let renewing = false;
let acting = false;

dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
retryAll.addEventListener("click", () => handle("retry", { all: true, expected: tag }));
dropAll.addEventListener("click", async () => {
  const expected = tag; // of those that the question is about
  if (await confirmed(`Drop ${counted(open, "dead letter")}?`, "Their records are given up. They stay in the topic until its retention ends.", "Drop all")) {
    await handle("drop", { all: true, expected });
  }
});

/** What the overview says of them; the list is read when something was written to the topic. */
export async function showLetters(part) {
  if (part.error) show(section.querySelector("#letters-sum"), part.error);
  if (!part.value) return;
  const codes = Object.entries(part.value.codes).map(([code, count]) => `${count} ${code}`);
  if (!part.error) show(section.querySelector("#letters-sum"), codes.join(", "));
  show(badge, `${part.value.open}${part.value.more ? "+" : ""}`);
  badge.hidden = !part.value.open;
  if (part.value.position !== position && !renewing) {
    position = part.value.position;
    await renew();
  }
}

async function renew() {
  renewing = true;
  try {
    const found = await get("dead-letters");
    ({ open, tag } = found);
    fill(table, found.letters, (letter) => letter.id, COLUMNS, "None: every record was processed.");
    if (found.letters.length < found.open) say(`The newest ${found.letters.length} of ${found.open} are shown.`);
    retryAll.disabled = dropAll.disabled = acting || !open;
  } catch (error) {
    say(error.message);
  } finally {
    renewing = false;
  }
}

const COLUMNS = [
  ["id", (letter) => letter.id],
  ["code", (letter) => letter.code],
  ["why", (letter) => letter.detail, "long"],
  ["source", (letter) => letter.source],
  ["key", (letter) => letter.key],
  ["bytes", (letter) => bytes(letter.bytes), "number"],
  ["since", (letter) => clock(letter.time)],
  ["do", (letter) => (cell) => cell.childElementCount || cell.append(actions(letter)), "buttons"],
];

function actions(letter) {
  const button = (text, does, kind = "") =>
    element("button", { type: "button", textContent: text, class: kind, "aria-label": `${text} ${letter.id}`, onclick: does });
  return element(
    "div",
    { class: "actions" },
    button("Show", () => showOne(letter)),
    button("Retry", () => handle("retry", { ids: [letter.id] })),
    button("Drop", async () => {
      if (await confirmed(`Drop ${letter.id}?`, `${letter.source}, key ${letter.key}: its record is given up.`, "Drop")) {
        await handle("drop", { ids: [letter.id] });
      }
    }),
  );
}

async function showOne(letter) {
  try {
    const { headers, value, ...rest } = await get(`dead-letters/${letter.id}`);
    const list = element("dl");
    for (const [name, text] of Object.entries(rest)) {
      if (text !== "") list.append(element("dt", { textContent: name }), element("dd", { textContent: text }));
    }
    const plain = typeof value === "string" ? value : JSON.stringify(value, null, 2);
    show(dialog.querySelector("h2"), `Dead letter ${letter.id}`);
    dialog.querySelector("#letter-body").replaceChildren(
      list,
      element("h3", { textContent: "Headers" }),
      element("pre", { tabIndex: 0, textContent: JSON.stringify(headers, null, 2) }),
      element("h3", { textContent: "Value" }),
      element("pre", { tabIndex: 0, textContent: plain }),
    );
    dialog.showModal();
  } catch (error) {
    say(error.message);
  }
}

async function handle(what, which) {
  if (acting) return;
  acting = retryAll.disabled = dropAll.disabled = true;
  say(what === "retry" ? "Putting back …" : "Dropping …");
  try {
    const { results } = await post(`dead-letters/${what}`, which);
    const refused = results.filter((each) => each.done === "refused");
    const done = results.length - refused.length;
    const words = what === "retry" ? "put back" : "dropped";
    const why = refused.slice(0, 3).map((each) => `${each.letter} refused: ${each.detail}`);
    say([`${counted(done, "dead letter")} ${words}.`, ...why].join(" "));
  } catch (error) {
    say(error.message);
  } finally {
    acting = false;
  }
  await renew();
}

function confirmed(title, text, yes) {
  show(ask.querySelector("h2"), title);
  show(ask.querySelector("#ask-text"), text);
  show(ask.querySelector("#ask-yes"), yes);
  ask.returnValue = "no";
  ask.showModal();
  return new Promise((resolve) => {
    ask.addEventListener("close", () => resolve(ask.returnValue === "yes"), { once: true });
  });
}

const say = (text) => show(said, text);
