// The page: asks for the overview every two seconds while somebody looks, and shows it.

import { get } from "/ops/static/api.js";
import { find } from "/ops/static/cart.js";
import { clock } from "/ops/static/format.js";
import { showGroups } from "/ops/static/groups.js";
import { showLetters } from "/ops/static/letters.js";
import {
  showJobs, showProcesses, showRestore, showServers, showTables, showTiles, showTimes, showTroubles, showWaiting,
} from "/ops/static/overview.js";
import { show } from "/ops/static/table.js";

const EVERY_MS = 2000;
const KEPT = 300;

const pulse = document.querySelector("#pulse");
const pulseText = document.querySelector("#pulse-text");
let points = [];
let seen = 0;

async function look() {
  try {
    const now = await get(`overview?since=${points.at(-1)?.at ?? 0}`);
    points = [...points, ...now.points].slice(-KEPT);
    seen = now.at;
    shown(now);
    pulse.dataset.state = "live";
    show(pulseText, `live, ${clock(now.at)}`);
  } catch (error) {
    pulse.dataset.state = "lost";
    show(pulseText, seen ? `nothing new since ${clock(seen)}` : error.message);
  }
}

function shown(now) {
  showTroubles(now);
  showTiles(now, points);
  showGroups(now.groups);
  showRestore(now.redis.value);
  showServers(now);
  showProcesses(now.processes);
  showWaiting(now);
  showJobs(now.jobs);
  showTimes(now.times);
  showTables(now.postgres, now.at);
  showLetters(now.letters);
}

async function lookOn() {
  if (!document.hidden) await look();
  setTimeout(lookOn, EVERY_MS);
}

document.addEventListener("visibilitychange", () => document.hidden || look());
const cartId = new URLSearchParams(location.search).get("cart");
if (cartId) find(cartId);
lookOn();
