"use strict";
// What the page shows of the runs that are embedded in it. Text from files reaches the page by textContent alone.

const page = {
  runs: JSON.parse(document.getElementById("data").textContent),
  shown: new Set(),
  focus: 0,
  hues: new Map(),
  by: "type",
  loss: "loss",
  bytes: "bytes",
  slice: { consensus: "", conflict: "", network: "all" },
  round: Infinity,
  agent: null,
  edge: null,
  playing: null,
  kinds: new Set(Object.keys(KINDS)),
};

function make(tag, facts, ...inner) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(facts)) made.setAttribute(key, value);
  made.append(...inner.map((part) => (part instanceof Node ? part : document.createTextNode(part ?? ""))));
  return made;
}
const fill = (id, ...inner) => document.getElementById(id).replaceChildren(...inner);
const text = (id, said) => {
  document.getElementById(id).textContent = said;
};
const dot = (color) => {
  const made = make("span", { class: "dot" });
  made.style.background = color;
  return made;
};

// the first `texts` columns are text, the others numbers
function table(head, rows, texts = 1) {
  const cell = (tag, part, i) => make(tag, i < texts ? { class: "text" } : {}, part);
  return make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...head.map((part, i) => cell("th", part, i)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((part, i) => cell("td", part, i))))),
  );
}

const tabulate = (id, head, rows, texts) => fill(id, ...table(head, rows, texts).children);

// bytes as a person reads them: 86.1 kB
function size(bytes) {
  if (bytes == null) return null;
  const step = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  return step
    ? `${(bytes / 1000 ** step).toFixed(1)} ${["B", "kB", "MB", "GB", "TB"][step]}`
    : `${Math.round(bytes)} B`;
}

const sum = (values) => values.reduce((all, value) => all + value, 0);
const mean = (values) => sum(values) / values.length;
const std = (values) => Math.sqrt(mean(values.map((value) => (value - mean(values)) ** 2)));
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const known = (values) => values.filter((value) => value != null);
const coordinates = (agent) => agent.types[0][1] === "coordinator";
const focused = () => page.runs[page.focus];

// choices

function options(id, values, chosen) {
  const box = document.getElementById(id);
  const before = [...box.options].map((option) => option.value + option.text).join("\n");
  const made = values.map(([value, name]) => {
    const option = make("option", {}, name);
    option.value = value;
    return option;
  });
  if (made.map((option) => option.value + option.text).join("\n") !== before) box.replaceChildren(...made);
  box.value = chosen;
}

function drawChoices(run) {
  const slices = Object.keys(run.slices).filter((name) => name !== REST);
  const mixed = Object.keys(run.consensus).filter((name) => run.consensus[name].after?.some((value) => value != null));
  const total = (name) => run.slices[name]?.total.at(-1) ?? 0;
  if (page.slice.consensus !== "all" && !mixed.includes(page.slice.consensus))
    page.slice.consensus = [...mixed].sort((a, b) => total(b) - total(a))[0] ?? "all";
  if (page.slice.network !== "all" && !slices.includes(page.slice.network)) page.slice.network = "all";
  options(
    "consensus-slice",
    [["all", mixed.length ? "all, after mixing" : "none is mixed among peers"], ...mixed.map((name) => [name, name])],
    page.slice.consensus,
  );
  const moved = Object.keys(run.conflict);
  if (!moved.includes(page.slice.conflict)) {
    const both = moved.filter((name) => known(run.conflict[name].across).length);
    page.slice.conflict = [...(both.length ? both : moved)].sort((a, b) => total(b) - total(a))[0] ?? "";
  }
  options("conflict-slice", moved.length ? moved.map((name) => [name, name]) : [["", "none"]], page.slice.conflict);
  options(
    "slice",
    [["all", "all"], ...[...new Set([...slices, ...Object.keys(run.overlays)])].map((name) => [name, name])],
    page.slice.network,
  );
  options(
    "agent",
    [["", "all"], ...run.agents.map((agent, i) => [String(i), agent.id])],
    page.agent == null ? "" : String(page.agent),
  );
  for (const group of document.querySelectorAll("[data-choice]")) {
    for (const button of group.children)
      button.setAttribute("aria-pressed", page[group.dataset.choice] === button.value);
  }
}

// what depends on the round alone, so that playing is smooth
function drawRound() {
  const run = focused(),
    slider = document.getElementById("round"),
    last = Math.max(0, run.rounds.length - 1);
  const t = Math.min(page.round, last);
  slider.max = last;
  slider.value = t;
  text("round-name", run.rounds.length ? `round ${run.rounds[t]} of 0–${run.planned - 1}` : "no round yet");
  slider.setAttribute("aria-valuetext", document.getElementById("round-name").textContent);
  drawNetwork(run, t);
  drawCrossing(run, t);
}

// draw everything, with what has been chosen since
function update(chosen = {}) {
  Object.assign(page, chosen);
  const run = focused();
  document.title = page.runs.map((each) => each.name).join(", ");
  text("title", page.runs.length > 1 ? `${page.runs.length} runs` : run.name);
  if (!document.body.dataset.live)
    text("status", page.runs.length > 1 ? page.runs.map((each) => each.name).join(" · ") : about(run));
  // types of agents get their colours first and in the same order, whatever is drawn first
  for (const each of page.runs)
    for (const agent of each.agents) for (const [, type] of agent.types) modalities(type).forEach(hue);
  drawChoices(run);
  for (const drawn of [drawRuns, drawTypes, drawAccuracy, drawLoss, drawBytes, drawConsensus, drawConflict]) drawn();
  drawRound();
  for (const drawn of [drawMetrics, drawContraction, drawPictures, drawEvents, drawPid, drawAgain]) drawn(run);
}

function about(run) {
  const counts = new Map();
  for (const { state } of run.agents) counts.set(state, (counts.get(state) ?? 0) + 1);
  const states = [...counts].map(([state, count]) => `${count} ${state}`).join(", ");
  const rounds = `${run.last + 1} of ${run.planned} rounds`;
  return `${run.method} on ${run.dataset} · ${run.agents.length} agents (${states}) · ${rounds}`;
}

function play(on) {
  clearInterval(page.playing);
  page.playing = null;
  const button = document.getElementById("play");
  button.setAttribute("aria-pressed", on);
  button.textContent = on ? "pause" : "play";
  if (!on) return;
  const last = () => focused().rounds.length - 1;
  if (page.round >= last()) page.round = 0;
  const step = () => {
    drawRound();
    if (page.round >= last()) {
      page.round = Infinity;
      play(false);
    } else page.round += 1;
  };
  page.playing = setInterval(step, Math.max(60, Math.min(700, 20000 / Math.max(1, last()))));
  step();
}

function begin() {
  page.runs.forEach((_, i) => page.shown.add(i));
  for (const group of document.querySelectorAll("[data-choice]")) {
    for (const button of group.children)
      button.addEventListener("click", () => update({ [group.dataset.choice]: button.value }));
  }
  const listen = (id, name, act) => document.getElementById(id).addEventListener(name, act);
  listen("consensus-slice", "change", (event) => {
    page.slice.consensus = event.target.value;
    update();
  });
  listen("conflict-slice", "change", (event) => {
    page.slice.conflict = event.target.value;
    update();
  });
  listen("slice", "change", (event) => {
    page.slice.network = event.target.value;
    drawRound();
  });
  listen("agent", "change", (event) => {
    page.agent = event.target.value === "" ? null : Number(event.target.value);
    page.edge = null;
    drawRound();
  });
  listen("round", "input", (event) => {
    play(false);
    const t = Number(event.target.value);
    page.round = t >= focused().rounds.length - 1 ? Infinity : t; // at the end it follows a run that goes on
    drawRound();
  });
  listen("play", "click", () => play(page.playing === null));
  listen("copy", "click", copy);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => update());
  update();
}

async function copy() {
  const command = document.getElementById("command"),
    button = document.getElementById("copy");
  try {
    await navigator.clipboard.writeText(command.textContent);
  } catch {
    // not allowed for a file: select it, to be copied by hand
    getSelection().selectAllChildren(command);
    button.textContent = "selected";
    return;
  }
  button.textContent = "copied";
  setTimeout(() => {
    button.textContent = "copy";
  }, 1500);
}
