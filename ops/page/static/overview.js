// The parts of the overview that are only shown: what is wrong, figures, servers, processes, what waits.

import { cartLink } from "/ops/static/cart.js";
import { curve, draw } from "/ops/static/charts.js";
import { counted, element, keyed, money } from "/ops/static/dom.js";
import { bytes, clock, milliseconds, number, percent, perSecond, seconds, since, UNKNOWN } from "/ops/static/format.js";
import { fill, show, state } from "/ops/static/table.js";

const CURVE_S = 600;
const WORST = { bad: "Something is wrong", warning: "Look at this", note: "All is well, with a note", none: "All is well", unknown: "Looking …" };
const STATES = { ready: "good", degraded: "warning", not_ready: "bad", silent: "bad", gone: "warning" };
const WORDS = { not_ready: "not ready", silent: "does not answer", gone: "has ended" };

const at = (selector) => document.querySelector(selector);
const table = (id) => at(`#${id} table`);

export function showTroubles({ troubles, looked }) {
  const worst = troubles[0]?.severity ?? (looked ? "none" : "unknown");
  at(".verdict").dataset.worst = worst;
  show(at("#verdict-title"), WORST[worst]);
  document.title = `${worst === "bad" ? "✕ " : worst === "warning" ? "! " : ""}Operations – cartstream`;
  keyed(at("#troubles"), troubles, (each) => `${each.where}/${each.what.replace(/[\d.,]+/g, "#")}`, trouble, (item, each) => {
    const [link, text] = item.children;
    item.className = each.severity;
    link.href = `#${each.where}`;
    show(link, each.what);
    show(text, each.do);
  });
}

const trouble = () => element("li", {}, element("a"), element("p"));

const TILES = [
  ["Changes", "per second", (now) => perSecond(now.traffic.changes_per_s), ["changes_per_s"], kinds("durability")],
  ["Reads", "per second", (now) => perSecond(now.traffic.reads_per_s), ["reads_per_s"], (now) => `${number(now.traffic.connections)} connections, ${number(now.traffic.streams)} live streams`],
  ["Change latency", "p99", (now) => milliseconds(now.traffic.change?.p99_ms), ["p99_ms", "p50_ms"], (now) => `p50 ${milliseconds(now.traffic.change?.p50_ms)}, p90 ${milliseconds(now.traffic.change?.p90_ms)}`],
  ["Lag", "records, all groups", (now) => number(lag(now)), ["lag"], (now) => `the oldest waits ${seconds(behind(now))}`],
  ["Redis outboxes", "changes not in Kafka yet", (now) => number(outbox(now)), ["outbox"], (now) => `the oldest for ${seconds(Math.max(0, ...(now.redis.value?.outboxes ?? []).map((each) => each.oldest_s)))}`],
  ["Refused", "problems per second", (now) => perSecond(now.traffic.problems_per_s), [], kinds("problems")],
];

const lag = (now) => sum((now.groups.value ?? []).map((group) => group.lag));
const behind = (now) => Math.max(0, ...(now.groups.value ?? []).map((group) => group.behind_s ?? 0));
const outbox = (now) => (now.redis.value ? sum(now.redis.value.outboxes.map((each) => each.entries)) ?? 0 : null);

function sum(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((one, other) => one + other, 0) : null;
}

/** What happened within a minute, by kind, the most frequent first. */
function kinds(name) {
  return (now) => {
    const found = Object.entries(now.traffic[name]).sort((one, other) => other[1] - one[1]).slice(0, 3);
    return found.length ? `last minute: ${found.map(([kind, count]) => `${number(count)} ${kind}`).join(", ")}` : "none in the last minute";
  };
}

export function showTiles(now, points) {
  keyed(at(".tiles"), TILES, ([title]) => title, tile, (made, [, , value, series, more]) => {
    show(made.querySelector(".value"), value(now));
    show(made.querySelector(".more"), more(now));
    if (series.length) draw(made.querySelector("svg"), points, series, CURVE_S);
  });
}

function tile([title, unit, , series]) {
  const text = element("p", { class: "figure" }, element("span", { class: "value" }), " ", element("span", { class: "unit", textContent: unit }));
  const made = element("article", {}, element("h2", { textContent: title }), text, element("p", { class: "more" }));
  if (series.length) made.append(curve());
  return made;
}

export function showServers(now) {
  const redis = now.redis.value, kafka = now.kafka.value, tables = now.postgres.value;
  const cards = [
    ["Redis", now.redis, redis && [
      ["version", `${redis.version}, ${redis.role}`],
      ["memory", redis.max_bytes ? `${bytes(redis.used_bytes)} of ${bytes(redis.max_bytes)}` : `${bytes(redis.used_bytes)}, no maxmemory`],
      ["round trip", milliseconds(redis.round_trip_ms)],
      ["append-only file", redis.is_durable ? "on" : "off"],
      ["partitions ready", `${redis.partitions - redis.restoring.length} of ${redis.partitions}`],
    ]],
    ["Kafka", now.kafka, kafka && [
      ["brokers", number(kafka.brokers)],
      ["partitions without a replica", kafka.under_replicated.length ? kafka.under_replicated.slice(0, 5).join(", ") : "none"],
    ]],
    ["Postgres", now.postgres, tables && [
      ["version", tables.version],
      ["connections", `${number(tables.connections)} of ${number(tables.max_connections)}`],
      ["outbox", `${number(tables.outbox_rows)} rows`],
      ["mails to send", number(tables.mails_count)],
    ]],
  ];
  keyed(at("#servers .cards"), cards, ([name]) => name, server, (card, [name, part, facts]) => {
    const [head, error, list] = card.children;
    show(head.lastChild, state(part.error ? "does not answer" : facts ? "answers" : "looking …", part.error ? "bad" : facts ? "good" : "unknown"));
    show(error, part.error);
    error.hidden = !part.error;
    keyed(list, facts ?? [], ([label]) => label, ([label]) => element("div", {}, element("dt", { textContent: label }), element("dd")), (row, [, value]) => show(row.lastChild, value));
  });
}

const server = ([name]) =>
  element("article", {}, element("header", {}, element("h3", { textContent: name }), element("span")), element("p", { class: "error" }), element("dl"));

export function showRestore(redis) {
  const rows = redis
    ? [
        ...redis.restoring.map((each) => ({ partition: each.partition, kind: "restored", percent: each.report?.percent ?? 0, text: each.report ? `${number(each.report.carts)} carts, ${seconds(each.report.eta_s)} left` : "nobody reports" })),
        ...redis.warming.map((each) => ({ partition: each.partition, kind: "warmed", percent: each.percent, text: "warming" })),
      ]
    : [];
  const waiting = redis ? redis.restoring.length : 0;
  const text = !redis ? UNKNOWN : waiting ? `${redis.partitions - waiting} of ${redis.partitions} partitions are ready` : rows.length ? "All partitions are ready, some are still cold" : `All ${redis.partitions} partitions are ready and warm`;
  show(at("#restore-sum"), text);
  at("#restore").dataset.busy = waiting ? "restoring" : rows.length ? "warming" : "no";
  keyed(at("#restore .bars"), rows, (row) => `${row.kind} ${row.partition}`, bar, (item, row) => {
    const [name, progress, rest] = item.children;
    show(name, `Partition ${row.partition}`);
    progress.value = row.percent;
    progress.setAttribute("aria-label", `Partition ${row.partition} is ${row.kind}`);
    show(rest, `${number(row.percent, 1)} % · ${row.text}`);
  });
}

const bar = () => element("li", {}, element("span"), element("progress", { max: 100 }), element("span", { class: "hint" }));

export function showProcesses(processes) {
  fill(table("processes"), processes, (each) => each.name, [
    ["process", (each) => each.name],
    ["state", (each) => state(WORDS[each.state] ?? each.state, STATES[each.state])],
    ["CPU", (each) => percent(each.cpu), "number"],
    ["memory", (each) => bytes(each.memory_bytes), "number"],
    ["up", (each) => seconds(each.up_s), "number"],
    ["requests p99", (each) => (each.requests_p99_ms === null ? "" : milliseconds(each.requests_p99_ms)), "number"],
    ["address", (each) => each.address ?? UNKNOWN],
    ["what is wrong", (each) => Object.entries(each.failing).map(([name, detail]) => `${name}: ${detail}`).join("; "), "long"],
  ], "None is known: set CARTSTREAM_OPS_TARGETS or CARTSTREAM_METRICS_TARGETS.");
}

export function showTimes(times) {
  fill(table("times"), times, (each) => each.name, [
    ["what", (each) => each.name],
    ["per second", (each) => number(each.per_s, 2), "number"],
    ["p50", (each) => milliseconds(each.p50_ms), "number"],
    ["p90", (each) => milliseconds(each.p90_ms), "number"],
    ["p99", (each) => milliseconds(each.p99_ms), "number"],
  ], "Nothing was measured in the last minute.");
}

export function showJobs(jobs) {
  fill(table("jobs"), jobs, (each) => each.name, [
    ["job", (each) => each.name],
    ["runs in", (each) => each.process ?? UNKNOWN],
    ["last done", (each) => (each.done_before_s === null ? UNKNOWN : `${seconds(each.done_before_s)} ago`), "number"],
  ], "No process tells of jobs.");
}

export function showWaiting(now) {
  const redis = now.redis.value, tables = now.postgres.value;
  const rows = [
    ...(redis?.outboxes ?? []).map((each) => [`Redis outbox ${each.partition}`, `${number(each.entries)} changes, ${bytes(each.bytes)}`, seconds(each.oldest_s)]),
    ...(tables ? [
      ["Postgres outbox", counted(tables.outbox_rows, "record"), tables.outbox_rows ? seconds(tables.outbox_oldest_s) : UNKNOWN],
      ["Mails", counted(tables.mails_count, "mail"), since(tables.mails_oldest, now.at)],
      ["Transfers of merges", counted(tables.transfers_count, "transfer"), since(tables.transfers_oldest, now.at)],
    ] : []),
  ];
  fill(table("outboxes"), rows, ([what]) => what, [
    ["what", ([what]) => what],
    ["how many", ([, many]) => many, "number"],
    ["the oldest for", ([, , oldest]) => oldest, "number"],
  ], "Not known.");
}

export function showTables(part, now) {
  const tables = part.value;
  if (!tables) return;
  show(at("#orders-sum"), number(tables.unsettled_count));
  fill(table("orders"), tables.unsettled, (each) => each.order_id, [
    ["order", (each) => each.order_id],
    ["cart", (each) => cartLink(each.cart_id)],
    ["placed", (each) => clock(each.placed_at)],
    ["for", (each) => since(each.placed_at, now), "number"],
  ], "None: every order has left its cart.");
  show(at("#merges-sum"), number(tables.merges_count));
  fill(table("merges"), tables.merges, (each) => each.merge_id, [
    ["guest", (each) => cartLink(each.guest)],
    ["into", (each) => cartLink(each.into)],
    ["begun", (each) => clock(each.began_at)],
    ["handed over", (each) => clock(each.handed_over_at)],
  ], "None.");
  show(at("#left-sum"), number(tables.left_behind_count));
  fill(table("left"), tables.left_behind, (each) => `${each.cart_id}/${each.idle_since}`, [
    ["cart", (each) => cartLink(each.cart_id)],
    ["idle since", (each) => clock(each.idle_since)],
    ["lines", (each) => number(each.lines), "number"],
    ["subtotal", (each) => (each.currency ? money(each.subtotal, each.currency) : UNKNOWN), "number"],
  ], "None, or nobody looks for them (CARTSTREAM_ABANDONED_AFTER_S).");
}
