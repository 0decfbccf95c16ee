// The demo's page: two devices, the button that wipes Redis, and the log of what happened.

import { reason, send } from "/demo/api.js";
import { Device } from "/demo/device.js";
import { element } from "/demo/dom.js";

const KEPT = 60;
const TICK_MS = 100;

const stage = document.querySelector(".stage");
const redis = document.querySelector(".redis");
const template = document.querySelector("#device");
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

function log(who, what, details = []) {
  const list = document.querySelector(".log");
  const entry = element(
    "li",
    {},
    element("p", {}, element("strong", {}, who), ` ${what}`),
    element("p", { class: "details" }, [clock.format(new Date()), ...details].join(" · ")),
  );
  list.prepend(entry);
  while (list.children.length > KEPT) list.lastChild.remove();
}

const devices = [...document.querySelectorAll("[data-device]")].map((root) => new Device(root, template, log));

for (const device of devices) {
  const button = document.querySelector(`[data-shows="${device.root.dataset.device}"]`);
  device.addEventListener("changed", () => {
    button.querySelector(".count").textContent = device.pieces || "";
  });
  button.addEventListener("click", () => {
    stage.dataset.shown = button.dataset.shows;
    for (const each of document.querySelectorAll("[data-shows]")) {
      each.setAttribute("aria-pressed", String(each === button));
    }
  });
  device.start();
}

document.querySelector("#wipe").addEventListener("click", async () => {
  if (redis.dataset.state === "wiped") return;
  const reply = await send("POST", "/demo/wipe");
  if (!reply.ok) {
    log("Redis", "is not wiped", [reason(reply)]);
    return;
  }
  const began = performance.now();
  const seconds = () => `${((performance.now() - began) / 1000).toFixed(1)} s`;
  show("wiped", "Redis is empty. Kafka restores it.");
  log("Redis", "is wiped", [`${reply.body.deleted_keys} keys deleted`]);
  const timer = setInterval(() => (redis.querySelector(".timer").textContent = seconds()), TICK_MS);
  await Promise.all(devices.map((device) => comeBack(device, seconds)));
  clearInterval(timer);
  redis.querySelector(".timer").textContent = seconds();
  show("back", "Back, restored from Kafka.");
});

async function comeBack(device, seconds) {
  let isTold = false;
  await device.comeBack(() => {
    if (!isTold) log(device.name, "reads a stale cart: Postgres's copy", [seconds()]);
    isTold = true;
  });
  log(device.name, "has its cart back, restored from Kafka", [seconds(), `version ${device.cart.document.version}`]);
}

function show(state, text) {
  redis.dataset.state = state;
  redis.querySelector(".state").textContent = text;
}
