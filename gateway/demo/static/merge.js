// What a login does with the guest cart: it is merged into the user's.

import { cartPath, newKey, pause, reason, send } from "/demo/api.js";
import { described } from "/demo/catalogue.js";
import { counted } from "/demo/dom.js";

const LOOK_AGAIN_MS = 200;
const LOOKS = 150;

const nameOf = ({ line_id: id }) => described({ line_id: id, product_id: id.split("~")[0] }).name;

/** Merges; returns {ok, told}: whether it is done, and what to tell of it (a sentence, then details). */
export async function merge(guestId, userId) {
  const body = { guest: guestId, strategy: "sum" };
  const reply = await send("POST", `${cartPath(userId)}/merge`, { body, key: newKey() });
  if (!reply.ok) return { ok: false, told: [`The guest cart stays as it is. ${reason(reply)}`] };
  const merged = reply.status === 202 ? await ended(reply.headers.get("location")) : reply.body;
  if (merged?.status !== "done") return { ok: true, told: ["the guest cart is still being merged"] };
  return {
    ok: true,
    told: [
      `the guest cart is merged: ${counted(merged.lines.done, "line")}`,
      ...[...merged.warnings, ...merged.left].map((lost) => `${nameOf(lost)}: ${lost.code}`),
      `${reply.milliseconds} ms`,
    ],
  };
}

async function ended(location) {
  for (let looks = 0; looks < LOOKS; looks++) {
    const { ok, body } = await send("GET", location);
    if (ok && body.status === "done") return body;
    await pause(LOOK_AGAIN_MS);
  }
  return null;
}
