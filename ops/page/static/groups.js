// Consumer groups: the heat map of lag by partition, and who works on what.

import { element, keyed } from "/ops/static/dom.js";
import { number, ranges, seconds, UNKNOWN } from "/ops/static/format.js";
import { fill, show, state } from "/ops/static/table.js";

const RECORDS = [1, 10, 100, 1000, 10000];
const SECONDS = [0.05, 1, 5, 10, 60];
const FIXED = ["group", "workers", "lag", "behind", "records/s"];

const section = document.querySelector("#groups");
const heat = section.querySelector("table.heat");
const workers = section.querySelector("#workers table");
const error = section.querySelector("#groups-error");
let unit = "records";
let latest = null;

for (const button of section.querySelectorAll("[data-unit]")) {
  button.addEventListener("click", () => {
    unit = button.dataset.unit;
    for (const each of section.querySelectorAll("[data-unit]")) {
      each.setAttribute("aria-pressed", String(each === button));
    }
    if (latest) showGroups(latest);
  });
}

export function showGroups(part) {
  latest = part;
  show(error, part.error);
  error.hidden = !part.error;
  const groups = part.value ?? [];
  const partitions = Math.max(0, ...groups.map((group) => group.partitions.length));
  header(partitions);
  const body = heat.tBodies[0] ?? heat.appendChild(element("tbody"));
  keyed(body, groups, (group) => group.group, () => row(partitions), update);
  fill(workers, groups.flatMap(members), (each) => each.key, [
    ["worker", (each) => each.name],
    ["group", (each) => each.group],
    ["host", (each) => each.host],
    ["partitions", (each) => each.partitions],
    ["lag", (each) => number(each.lag), "number"],
  ], "No worker is in a group.");
}

function header(partitions) {
  if (heat.tHead.rows[0]?.cells.length === FIXED.length + partitions) return;
  const cells = [...FIXED, ...Array(partitions).keys()].map((text, index) =>
    element("th", { scope: "col", class: index && index < FIXED.length ? "number" : index ? "cell" : "", textContent: text }),
  );
  heat.tHead.replaceChildren(element("tr", {}, ...cells));
  heat.tBodies[0]?.replaceChildren();
}

function row(partitions) {
  const cells = FIXED.slice(1).map(() => element("td", { class: "number" }));
  const places = Array.from({ length: partitions }, () => element("td", { class: "cell" }));
  return element("tr", {}, element("th", { scope: "row" }), ...cells, ...places);
}

function update(line, group) {
  const [name, count, lag, behind, rate, ...places] = line.cells;
  show(name, group.group);
  name.title = group.command;
  const bad = !group.members.length || group.unowned.length;
  const spare = group.spare.length ? ` (${group.spare.length} spare)` : "";
  show(count, state(`${group.members.length}${spare}`, bad ? (group.lag ? "bad" : "warning") : "good"));
  show(lag, number(group.lag));
  show(behind, seconds(group.behind_s));
  show(rate, number(group.records_per_s, 1));
  places.forEach((cell, index) => {
    const place = group.partitions[index];
    const value = place && (unit === "records" ? place.lag : place.behind_s);
    show(cell, value === undefined || value === null ? UNKNOWN : value === 0 ? "·" : short(value));
    const level = value === undefined || value === null ? "unknown" : levelOf(value);
    const owner = place && !place.owned ? " unowned" : "";
    cell.className = `cell heat-${level}${owner}`;
    cell.title = place
      ? `partition ${place.partition}: ${number(place.lag)} records, ${seconds(place.behind_s)} behind, at ${number(place.position)}${place.owned ? "" : ", no worker"}`
      : "";
  });
}

const levelOf = (value) => (unit === "records" ? RECORDS : SECONDS).filter((bound) => value >= bound).length;

function short(value) {
  if (unit === "seconds") return value < 100 ? number(value, value < 10 ? 1 : 0) : value < 6000 ? `${number(value / 60)}m` : `${number(value / 3600)}h`;
  return value < 1000 ? number(value) : value < 1e6 ? `${number(value / 1000, value < 1e4 ? 1 : 0)}k` : `${number(value / 1e6, 1)}M`;
}

function members(group) {
  return group.members.map((member, index) => {
    const own = group.partitions.filter((place) => member.partitions.includes(place.partition));
    const lags = own.map((place) => place.lag).filter((lag) => lag !== null);
    return {
      key: `${group.group}/${member.instance_id ?? index}`,
      name: member.instance_id ?? "(no instance id)",
      group: group.group,
      host: `${member.host} (${member.address})`,
      partitions: ranges(member.partitions) || "none, spare",
      lag: lags.length ? lags.reduce((sum, lag) => sum + lag, 0) : null,
    };
  });
}
