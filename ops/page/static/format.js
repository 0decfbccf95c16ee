// Numbers and times as people read them; what is not known is a dash.

export const UNKNOWN = "–";

export function number(value, digits = 0) {
  return value === null || value === undefined
    ? UNKNOWN
    : value.toLocaleString("en", { maximumFractionDigits: digits });
}

export const perSecond = (value) => number(value, value < 10 ? 1 : 0);

export function milliseconds(value) {
  if (value === null || value === undefined) return UNKNOWN;
  return value >= 1000 ? `${number(value / 1000, 2)} s` : `${number(value, value < 10 ? 1 : 0)} ms`;
}

export function seconds(value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (value < 10) return `${number(value, 1)} s`;
  if (value < 120) return `${number(value)} s`;
  if (value < 7200) return `${number(value / 60)} min`;
  if (value < 172800) return `${number(value / 3600)} h`;
  return `${number(value / 86400)} days`;
}

export function bytes(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const units = ["B", "KB", "MB", "GB", "TB"];
  const unit = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log(value) / Math.log(1024)));
  return `${number(value / 1024 ** unit, unit > 1 ? 1 : 0)} ${units[unit]}`;
}

export const percent = (share) => (share === null || share === undefined ? UNKNOWN : `${number(100 * share)} %`);

/** A moment in ISO 8601, or Unix seconds, as the clock here shows it; with the day unless it is today. */
export function clock(moment) {
  if (!moment) return UNKNOWN;
  const at = new Date(typeof moment === "number" ? moment * 1000 : moment);
  if (Number.isNaN(at.getTime())) return String(moment);
  const time = at.toLocaleTimeString("en-GB");
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? time : `${at.toLocaleDateString("en-CA")} ${time}`;
}

export const since = (moment, now) => seconds(moment ? Math.max(0, now - new Date(moment).getTime() / 1000) : null);

/** Sorted numbers in short: 0–3 7. */
export function ranges(numbers) {
  const runs = [];
  for (const each of numbers) {
    const run = runs.at(-1);
    if (run && each === run[1] + 1) run[1] = each;
    else runs.push([each, each]);
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(" ");
}
