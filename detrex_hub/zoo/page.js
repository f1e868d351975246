"use strict";

const get = (id) => document.getElementById(id);
const table = get("weights");
const rows = [...table.tBodies];
const families = common(rows.map((row) => row.dataset.family));
const FIELDS = ["q", "arch", "backbone", "license", "min", "max", "sort"];
const SWITCHES = ["auto", "pinned", "commercial"];
const PLOTS = [
  { kind: "detector", metric: "box AP", title: "Detectors", note: "box AP on COCO val2017" },
  { kind: "backbone", metric: "acc@1", title: "Backbones", note: "acc@1 on ImageNet-1k" },
];
const SORTS = {
  "": "Best first",
  name: "Name",
  arch: "Architecture",
  backbone: "Backbone",
  accuracy: "Lowest accuracy first",
  parameters: "Fewest parameters first",
  "-parameters": "Most parameters first",
  size: "Smallest first",
  license: "Licence",
};
let opened = "";

/* The different values, the most frequent first. */
function common(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
  return [...counts.keys()].filter(Boolean).sort((a, b) => counts.get(b) - counts.get(a));
}

/* ---- state: the form, and the part of the address after # ---- */

function read() {
  const state = { kind: document.querySelector("input[name=kind]:checked").value, row: opened };
  for (const field of FIELDS) state[field] = get(field).value.trim();
  for (const field of SWITCHES) state[field] = get(field).checked ? "1" : "";
  return state;
}

function show(state) {
  const kind = [...document.getElementsByName("kind")];
  (kind.find((one) => one.value === (state.kind || "")) || kind[0]).checked = true;
  for (const field of FIELDS) setValue(get(field), state[field] || "");
  for (const field of SWITCHES) get(field).checked = state[field] === "1";
  opened = get(state.row || "") && rows.includes(get(state.row)) ? state.row : "";
}

function setValue(input, value) {
  const known = input.tagName !== "SELECT" || [...input.options].some((one) => one.value === value);
  input.value = known ? value : "";
}

function fromAddress() {
  show(Object.fromEntries(new URLSearchParams(location.hash.slice(1))));
  apply();
  if (opened) get(opened).scrollIntoView({ block: "center" });
}

function toAddress(state) {
  const said = Object.entries(state).filter(([, value]) => value);
  const hash = new URLSearchParams(said).toString();
  if (hash !== location.hash.slice(1)) history.replaceState(null, "", `#${hash}`);
}

/* ---- filter and sort ---- */

function takes(state) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const least = parseFloat(state.min);
  const most = parseFloat(state.max);
  return ({ dataset: data }) =>
    words.every((word) => data.words.includes(word)) &&
    (!state.kind || data.kind === state.kind) &&
    (!state.arch || data.arch === state.arch) &&
    (!state.backbone || data.family === state.backbone) &&
    (!state.license || data.license === state.license) &&
    !(data.boxAp === "" ? least > 0 : +data.boxAp < least) &&
    !(+data.parameters > most * 1e6) &&
    SWITCHES.every((name) => !state[name] || data[name] === "1");
}

const texts = new Intl.Collator("en", { numeric: true });

function compare(sort) {
  const key = sort.replace("-", "");
  const sign = sort.startsWith("-") ? -1 : 1;
  return (a, b) => {
    if (key === "name") return sign * texts.compare(a.id, b.id);
    const [one, other] = [a.dataset[key], b.dataset[key]];
    if (!one || !other || one === "0" || other === "0") return !one || one === "0" ? (!other || other === "0" ? 0 : 1) : -1;
    // figures of two metrics have no order
    if (key === "accuracy" && a.dataset.metric !== b.dataset.metric) return place.get(a) - place.get(b);
    return sign * (isNaN(one) ? texts.compare(one, other) : one - other) || place.get(a) - place.get(b);
  };
}

const place = new Map(rows.map((row, index) => [row, index]));

function apply() {
  const state = read();
  const wanted = takes(state);
  const shown = rows.filter((row) => {
    row.hidden = !wanted(row);
    return !row.hidden;
  });
  const sorted = [...rows].sort(state.sort ? compare(state.sort) : (a, b) => place.get(a) - place.get(b));
  if (sorted.some((row, index) => row !== table.tBodies[index])) table.append(...sorted);
  for (const row of rows) open(row, row.id === opened);
  for (const head of table.tHead.querySelectorAll("[data-sort]")) {
    const own = state.sort.replace("-", "") === head.dataset.sort;
    if (own) head.setAttribute("aria-sort", state.sort.startsWith("-") ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  const filtered = Object.entries(state).some(([name, value]) => value && name !== "sort" && name !== "row");
  get("count").textContent = filtered ? `${shown.length} of ${rows.length} weights` : `${rows.length} weights`;
  get("reset").hidden = !filtered;
  get("none").hidden = shown.length > 0;
  table.hidden = shown.length === 0;
  draw(shown, state);
  toAddress(state);
}

/* ---- rows ---- */

function open(row, on) {
  row.querySelector(".more").hidden = !on;
  row.querySelector(".name").setAttribute("aria-expanded", on);
  row.classList.toggle("on", on);
}

function toggle(row) {
  opened = opened === row.id ? "" : row.id;
  apply();
}

async function copy(button) {
  const { line } = button.closest("tbody").dataset;
  try {
    await navigator.clipboard.writeText(line);
  } catch {
    const area = document.createElement("textarea");
    area.value = line;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.classList.add("done");
  button.firstChild.data = "Copied";
  get("said").textContent = `Copied: ${line}`;
  setTimeout(() => {
    button.classList.remove("done");
    button.firstChild.data = "Copy";
  }, 1600);
}

/* ---- plots ---- */

function svg(name, attributes, ...inside) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

const SHAPES = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  (r) => `M${-r * 0.9},${-r * 0.9}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`,
  (r) => `M0,${-1.25 * r}L${1.15 * r},${0.9 * r}L${-1.15 * r},${0.9 * r}z`,
  (r) => `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0z`,
  (r) => `M0,${1.25 * r}L${1.15 * r},${-0.9 * r}L${-1.15 * r},${-0.9 * r}z`,
];
const colour = (family) => (family ? `var(--c${families.indexOf(family) % 9})` : "var(--soft)");
const shape = (family, r) => SHAPES[Math.max(0, families.indexOf(family)) % SHAPES.length](r);

function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + 1e-9; at += step) found.push(+at.toFixed(6));
  return found;
}

function draw(shown, state) {
  const section = get("plots");
  const figures = PLOTS.map((plot) => {
    const theirs = shown.filter(
      ({ dataset: data }) => data.kind === plot.kind && data.metric === plot.metric && +data.parameters > 0,
    );
    return { ...plot, theirs };
  }).filter((one) => one.theirs.length);
  section.hidden = figures.length === 0;
  section.replaceChildren();
  if (!figures.length) return;
  section.append(legend(state));
  for (const one of figures) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const small = document.createElement("small");
    small.textContent = `${one.note} against parameters`;
    caption.append(`${one.title} `, small);
    figure.append(caption);
    section.append(figure);
    figure.dataset.metric = one.metric;
  }
  // widths are known when all figures are there
  figures.forEach((one, index) => plot(section.querySelectorAll("figure")[index], one));
}

function legend(state) {
  const box = document.createElement("div");
  box.className = "legend";
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Backbones");
  for (const family of families) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", state.backbone === family);
    const mark = svg("path", { d: shape(family, 4.5) });
    mark.style.fill = colour(family);
    button.append(svg("svg", { viewBox: "-6 -6 12 12", "aria-hidden": "true" }, mark), family);
    button.addEventListener("click", () => {
      setValue(get("backbone"), state.backbone === family ? "" : family);
      apply();
    });
    box.append(button);
  }
  return box;
}

function plot(figure, { theirs, title, note }) {
  const width = Math.max(280, figure.clientWidth - 32);
  const height = Math.min(340, Math.max(230, width * 0.55));
  const [left, right, top, bottom] = [30, 8, 12, 34];
  const sizes = theirs.map((row) => row.dataset.parameters / 1e6);
  const values = theirs.map((row) => +row.dataset.accuracy);
  const [small, large] = [Math.min(...sizes) / 1.15, Math.max(...sizes) * 1.15];
  const pad = Math.max(1, (Math.max(...values) - Math.min(...values)) * 0.07);
  const [low, high] = [Math.min(...values) - pad, Math.max(...values) + pad];
  const x = (size) => left + ((width - left - right) * Math.log(size / small)) / Math.log(large / small);
  const y = (value) => top + ((height - top - bottom) * (high - value)) / (high - low);

  const image = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, height, role: "group",
    "aria-label": `${title}: ${note} against parameters. Arrow keys move between points, Enter opens the row.`,
  });
  for (const at of ticks(low, high, 5)) {
    image.append(
      svg("line", { class: "grid", x1: left, x2: width - right, y1: y(at), y2: y(at) }),
      svg("text", { x: left - 6, y: y(at) + 4, "text-anchor": "end" }, `${at}`),
    );
  }
  for (const at of [10, 20, 30, 50, 70, 100, 200, 300, 500, 700, 1000].filter((one) => one > small && one < large)) {
    image.append(
      svg("line", { class: "grid", x1: x(at), x2: x(at), y1: top, y2: height - bottom }),
      svg("text", { x: x(at), y: height - bottom + 16, "text-anchor": "middle" }, `${at}`),
    );
  }
  image.append(svg("text", { x: width - right, y: height - 2, "text-anchor": "end" }, "million parameters"));

  const ordered = theirs
    .map((row, index) => ({ row, size: sizes[index], value: values[index] }))
    .sort((a, b) => a.size - b.size || b.value - a.value);
  let best = -Infinity;
  const line = [];
  for (const one of ordered) {
    if (one.value > best) {
      best = one.value;
      line.push(`${x(one.size).toFixed(1)},${y(one.value).toFixed(1)}`);
    }
  }
  if (line.length > 1) image.append(svg("polyline", { class: "best", points: line.join(" ") }));

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  const points = ordered.map(({ row, size, value }) => {
    const { family } = row.dataset;
    const text = `${row.id}: ${value.toFixed(1)} ${row.dataset.metric}, ${size.toFixed(1)} M parameters`;
    const point = svg("path", {
      class: "point", d: shape(family, 4.6), tabindex: "-1", role: "button", "aria-label": text, "data-row": row.id,
      transform: `translate(${x(size).toFixed(1)} ${y(value).toFixed(1)})`,
    });
    point.style.fill = colour(family);
    const say = () => {
      tip.textContent = text;
      tip.hidden = false;
      const room = figure.clientWidth - tip.offsetWidth - 8;
      tip.style.left = `${Math.max(8, Math.min(room, x(size) + 16 - tip.offsetWidth / 2))}px`;
      const above = image.getBoundingClientRect().top - figure.getBoundingClientRect().top + y(value) - tip.offsetHeight - 12;
      tip.style.top = `${above < 0 ? above + tip.offsetHeight + 26 : above}px`;
    };
    const hush = () => { tip.hidden = true; };
    point.addEventListener("pointerenter", say);
    point.addEventListener("pointerleave", hush);
    point.addEventListener("focus", say);
    point.addEventListener("blur", hush);
    point.addEventListener("click", () => visit(row));
    return point;
  });
  if (points.length) points[0].setAttribute("tabindex", "0");
  image.append(...points);
  image.addEventListener("keydown", (event) => {
    const at = points.indexOf(event.target);
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -at, End: points.length - 1 - at };
    if (at >= 0 && event.key in steps) {
      const next = points[(at + steps[event.key] + points.length) % points.length];
      points[at].setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
      event.preventDefault();
    } else if (at >= 0 && (event.key === "Enter" || event.key === " ")) {
      visit(get(points[at].dataset.row));
      event.preventDefault();
    }
  });
  figure.append(image, tip);
}

function visit(row) {
  opened = row.id;
  apply();
  row.scrollIntoView({ block: "center" });
  row.querySelector(".name").focus({ preventScroll: true });
}

function mark(row, on) {
  for (const point of document.querySelectorAll(".point")) {
    if (point.dataset.row === row.id) {
      point.classList.toggle("on", on);
      if (on) point.parentNode.append(point);
    }
  }
}

/* ---- start ---- */

for (const [value, label] of Object.entries(SORTS)) get("sort").add(new Option(label, value));
for (const head of table.tHead.querySelectorAll("[data-sort]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  head.replaceChildren(button);
  const key = head.dataset.sort;
  // the most accurate first, else the first of the alphabet or the smallest
  const [first, second] = key === "accuracy" ? ["-accuracy", "accuracy"] : [key, `-${key}`];
  for (const sort of [first, second]) {
    if (!(sort in SORTS)) get("sort").add(new Option(`${head.textContent}, the other way`, sort));
  }
  button.addEventListener("click", () => {
    setValue(get("sort"), get("sort").value === first ? second : first);
    apply();
  });
}
for (const row of rows) {
  row.querySelector(".dot").style.color = colour(row.dataset.family);
  row.querySelector(".copy").hidden = false;
  row.addEventListener("mouseenter", () => mark(row, true));
  row.addEventListener("mouseleave", () => mark(row, false));
}
table.addEventListener("click", (event) => {
  const row = event.target.closest("tbody");
  if (event.target.closest(".copy")) copy(event.target.closest(".copy"));
  else if (row && event.target.closest(".name")) toggle(row);
  else if (row && !event.target.closest("a, .more") && !String(getSelection())) toggle(row);
});
get("filters").hidden = false;
get("extra").addEventListener("click", () => {
  const on = get("filters").classList.toggle("all");
  get("extra").setAttribute("aria-expanded", on);
});
get("filters").addEventListener("input", apply);
get("filters").addEventListener("submit", (event) => event.preventDefault());
get("reset").addEventListener("click", () => {
  show({ sort: get("sort").value });
  apply();
  get("q").focus();
});
addEventListener("hashchange", fromAddress);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) {
    width = innerWidth;
    apply();
  }
});
fromAddress();
