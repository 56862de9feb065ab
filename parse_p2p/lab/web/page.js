"use strict";
// What the page shows of the runs that are embedded in it. Text from files reaches the page by textContent alone.

const page = {
  runs: JSON.parse(document.getElementById("data").textContent),
  shown: new Set(), focus: 0, hues: new Map(),
  by: "type", loss: "loss", bytes: "bytes", slice: { consensus: "", network: "all" },
  round: Infinity, agent: null, edge: null, playing: null, kinds: new Set(Object.keys(KINDS)),
};

function make(tag, facts, ...inner) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(facts)) made.setAttribute(key, value);
  made.append(...inner.map((part) => (part instanceof Node ? part : document.createTextNode(part ?? ""))));
  return made;
}
const fill = (id, ...inner) => document.getElementById(id).replaceChildren(...inner);
const text = (id, said) => { document.getElementById(id).textContent = said; };
const dot = (color) => { const made = make("span", { class: "dot" }); made.style.background = color; return made; };

function pressable(element, act) {
  element.addEventListener("click", act);
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); }
  });
}

// the first `texts` columns are text, the others numbers
function table(head, rows, texts = 1) {
  const cell = (tag, part, i) => make(tag, i < texts ? { class: "text" } : {}, part);
  return make("table", {}, make("thead", {}, make("tr", {}, ...head.map((part, i) => cell("th", part, i)))),
              make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((part, i) => cell("td", part, i))))));
}

// bytes as a person reads them: 86.1 kB
function size(bytes) {
  if (bytes == null) return null;
  const step = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  return step ? `${(bytes / 1000 ** step).toFixed(1)} ${["B", "kB", "MB", "GB", "TB"][step]}` : `${Math.round(bytes)} B`;
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const std = (values) => Math.sqrt(mean(values.map((value) => (value - mean(values)) ** 2)));
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const known = (values) => values.filter((value) => value != null);
const coordinates = (agent) => agent.types[0][1] === "coordinator";
const focused = () => page.runs[page.focus];

// tables

function drawRuns() {
  const head = ["", "run", "method", "data set", "seed", "rounds", "accuracy", "worst agent", "bytes an agent and round", "bytes in all", "s a round"];
  const rows = page.runs.map((run, i) => {
    const judged = run.agents.filter((agent) => agent.final && !coordinates(agent));
    const worst = judged.reduce((low, agent) => (!low || agent.final.accuracy < low.final.accuracy ? agent : low), null);
    const bytes = Object.values(run.slices).reduce((sum, row) => sum + (row.total.at(-1) ?? 0), 0);
    const done = run.agents.reduce((sum, agent) => sum + (coordinates(agent) ? 0 : known(agent.mail).length), 0) * run.stride;
    const seconds = known(run.agents.flatMap((agent) => agent.seconds));
    return [chooser(run, i), radio(run, i), run.method, run.dataset, run.seed, `${run.last + 1} of ${run.planned}`,
            judged.length ? mean(judged.map((agent) => agent.final.accuracy)).toFixed(3) : "", worst ? `${worst.final.accuracy.toFixed(3)} (${worst.id})` : "",
            done ? size(bytes / done) : "", size(bytes), seconds.length ? median(seconds).toFixed(2) : ""].map((part) => (part instanceof Node ? part : String(part)));
  });
  fill("runs", ...table(head, rows, 4).children);
  fill("notes", ...page.runs.flatMap((run) => run.notes.map((note) => make("li", {}, page.runs.length > 1 ? `${run.name}: ${note}` : note))));
}

function chooser(run, i) {
  if (page.runs.length === 1) return "";
  const box = make("input", { type: "checkbox", "aria-label": `draw ${run.name} in the curves` });
  box.checked = page.shown.has(i);
  box.addEventListener("change", () => {
    page.shown[box.checked ? "add" : "delete"](i);
    if (!page.shown.size) page.shown.add(i);
    update();
  });
  return box;
}

function radio(run, i) {
  if (page.runs.length === 1) return run.name;
  const box = make("input", { type: "radio", name: "focus", "aria-label": `show ${run.name} in detail` });
  box.checked = page.focus === i;
  box.addEventListener("change", () => { Object.assign(page, { focus: i, round: Infinity, agent: null, edge: null }); update(); });
  return make("label", {}, box, " ", run.name);
}

function drawTypes() {
  const runs = shownRuns().map(([run]) => run);
  const types = [...new Set(runs.flatMap((run) => run.agents.map((agent) => typeAt(agent, Infinity))))];
  const any = (key) => runs.map((run) => run.summary?.types?.some?.((row) => row[key] != null));
  // of several runs only what is compared, so that they fit side by side
  const columns = runs.map((run, r) => {
    const alone = any("alone")[r], one = runs.length === 1;
    return [
      ...(one ? [["agents", (row) => row.length]] : []),
      ...(one && alone ? [["alone", (row, told) => number(told?.alone)]] : []),
      [one ? run.method : "accuracy", (row) => make("span", {}, make("strong", {}, mean(row).toFixed(3)), ` ± ${std(row).toFixed(3)}`)],
      ...(alone ? [["gain", (row, told) => signed(told?.alone == null ? null : mean(row) - told.alone)]] : []),
      ["worst", (row) => Math.min(...row).toFixed(3)],
      ...(one && any("ceiling")[r] ? [["ceiling", (row, told) => number(told?.ceiling)]] : []),
    ];
  });
  const line = (tag, parts) => make("tr", {}, ...parts.map(([part, facts]) => make(tag, facts, part)));
  const head = [["agents with", { class: "text" }], ...columns.flatMap((some) => some.map(([name], i) => [name, i ? {} : { class: "first" }]))];
  const body = types.map((type) => line("td", [[make("span", {}, dot(hue(type)), type || "?"), { class: "text" }], ...columns.flatMap((some, r) => {
    const row = runs[r].agents.filter((agent) => agent.final && typeAt(agent, Infinity) === type).map((agent) => agent.final.accuracy);
    const told = runs[r].summary?.types?.find?.((entry) => entry.type === type);
    return some.map(([, cell], i) => [row.length ? toNode(cell(row, told)) : "", i ? {} : { class: "first" }]);
  })]));
  const groups = runs.length > 1 ? [make("tr", {}, make("th", {}), ...runs.map((run, r) => make("th", { class: "group", colspan: columns[r].length }, run.name)))] : [];
  fill("types", make("thead", {}, ...groups, line("th", head)), make("tbody", {}, ...body));
}

const number = (value) => (typeof value === "number" ? value.toFixed(3) : "");
const signed = (value) => (value == null ? "" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3));
const toNode = (part) => (part instanceof Node ? part : String(part));

// of every slice what is left of the distance in a round, beside what theory allows
function drawContraction(run) {
  const rows = Object.entries(run.consensus).filter(([, row]) => row.after?.some((value) => value != null)).map(([slice, row]) => {
    const whole = run.rounds.map((_, t) => t).filter((t) => row.before[t] > 0 && row.after[t] != null && row.agents[t] === row.holders[t]);
    const left = whole.map((t) => row.after[t] / row.before[t]), lacking = known(row.after).length - whole.length;
    // a sketch has five digits: what is left of a distance is known to about that of the sketch itself
    const within = whole.filter((t) => row.after[t] <= row.bound[t] + 1e-3 * row.before[t] + 1e-5).length;
    return [slice, String(known(row.holders).at(-1) ?? ""), number(known(row.rho).at(-1)), left.length ? number(median(left)) : "",
            left.length ? number(Math.max(...left)) : "", whole.length ? `${within} of ${whole.length}` : "", lacking > 0 ? String(lacking) : ""];
  });
  document.getElementById("contraction-box").hidden = !rows.length;
  fill("contraction", ...table(["slice", "holders", "ρ", "left of the distance: median", "most", "rounds within ρ", "rounds without all holders"], rows, 1).children);
}

function drawEvents(run) {
  fill("kinds", ...Object.entries(KINDS).map(([kind]) => {
    const count = run.events.filter((event) => event.kind === kind).length;
    const button = make("button", { value: kind, "aria-pressed": page.kinds.has(kind) }, `${kind} ${count}`);
    button.addEventListener("click", () => { page.kinds[page.kinds.has(kind) ? "delete" : "add"](kind); update(); });
    return button;
  }));
  document.getElementById("kinds").hidden = !run.events.length;
  const some = run.events.filter((event) => page.kinds.has(event.kind));
  drawTimeline(run, some);
  const rows = some.slice(0, 300).map((event) => [String(event.round), `${event.time.toFixed(1)} s`, event.agent, event.kind, event.note]);
  const made = table(["round", "after", "agent", "kind", "what happened"], rows, 5);
  for (const row of made.querySelectorAll("tbody tr")) row.lastChild.className = "note";
  fill("events", ...(rows.length ? made.children : []));
  const hidden = some.length - rows.length + run.left_out;
  text("events-hint", !run.events.length ? "Nothing out of the ordinary was logged." : hidden > 0 ? `${hidden} later events are not listed here; the logs have them all.` : "");
}

// whatever pid.json holds: a list of rows becomes a table, all else names with values
function drawPid(run) {
  const shown = (value) => typeof value === "number" ? String(+value.toPrecision(4)) : value == null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  const plain = (value) => value === null || typeof value !== "object";
  const render = (value, depth) => {
    if (plain(value)) return [make("p", {}, shown(value))];
    if (Array.isArray(value)) {
      if (!value.length || !value.every((row) => row && typeof row === "object" && !Array.isArray(row))) return [make("p", {}, value.map(shown).join(", "))];
      const keys = [...new Set(value.flatMap(Object.keys))];
      return [table(keys, value.map((row) => keys.map((key) => shown(row[key]))), 1)];
    }
    const leaves = Object.entries(value).filter(([, inner]) => plain(inner)), rest = Object.entries(value).filter(([, inner]) => !plain(inner));
    const alike = rest.length > 1 && rest.every(([, inner]) => !Array.isArray(inner) && Object.values(inner).every(plain));
    const nested = alike ? render(rest.map(([name, inner]) => ({ "": name, ...inner })), depth)
      : rest.flatMap(([name, inner]) => [make(depth ? "h4" : "h3", {}, name), ...(depth > 4 ? [make("p", {}, shown(inner))] : render(inner, depth + 1))]);
    return [...(leaves.length ? [table(["", ""], leaves.map(([name, inner]) => [name, shown(inner)]), 1)] : []), ...nested];
  };
  document.getElementById("pid-box").hidden = run.pid == null;
  fill("pid", ...(run.pid == null ? [] : render(run.pid, 0)));
}

function drawAgain(run) {
  text("command", run.command);
  text("versions", `Page made with ${Object.entries(run.versions).map(([name, is]) => `${name} ${is}`).join(", ")}. Rounds count from 0, as in the logs and in the run file.`);
  text("config", run.config);
}

// choices

function options(id, values, chosen) {
  const box = document.getElementById(id);
  const before = [...box.options].map((option) => option.value + option.text).join("\n");
  const made = values.map(([value, name]) => { const option = make("option", {}, name); option.value = value; return option; });
  if (made.map((option) => option.value + option.text).join("\n") !== before) box.replaceChildren(...made);
  box.value = chosen;
}

function drawChoices(run) {
  const slices = Object.keys(run.slices).filter((name) => name !== REST);
  const mixed = Object.keys(run.consensus).filter((name) => run.consensus[name].after?.some((value) => value != null));
  const total = (name) => run.slices[name]?.total.at(-1) ?? 0;
  if (page.slice.consensus !== "all" && !mixed.includes(page.slice.consensus)) page.slice.consensus = [...mixed].sort((a, b) => total(b) - total(a))[0] ?? "all";
  if (page.slice.network !== "all" && !slices.includes(page.slice.network)) page.slice.network = "all";
  options("consensus-slice", [["all", mixed.length ? "all, after mixing" : "none is mixed among peers"], ...mixed.map((name) => [name, name])], page.slice.consensus);
  options("slice", [["all", "all"], ...[...new Set([...slices, ...Object.keys(run.overlays)])].map((name) => [name, name])], page.slice.network);
  options("agent", [["", "all"], ...run.agents.map((agent, i) => [String(i), agent.id])], page.agent == null ? "" : String(page.agent));
  for (const group of document.querySelectorAll("[data-choice]")) {
    for (const button of group.children) button.setAttribute("aria-pressed", page[group.dataset.choice] === button.value);
  }
}

// what depends on the round alone, so that playing is smooth
function drawRound() {
  const run = focused(), slider = document.getElementById("round"), last = Math.max(0, run.rounds.length - 1);
  const t = Math.min(page.round, last);
  slider.max = last;
  slider.value = t;
  text("round-name", run.rounds.length ? `round ${run.rounds[t]} of 0–${run.planned - 1}` : "no round yet");
  slider.setAttribute("aria-valuetext", document.getElementById("round-name").textContent);
  drawNetwork(run, t);
  drawCrossing(run, t);
}

function update() {
  const run = focused();
  document.title = page.runs.map((each) => each.name).join(", ");
  text("title", page.runs.length > 1 ? `${page.runs.length} runs` : run.name);
  if (!document.body.dataset.live) text("status", page.runs.length > 1 ? page.runs.map((each) => each.name).join(" · ") : about(run));
  // types of agents get their colours first and in the same order, whatever is drawn first
  for (const each of page.runs) for (const agent of each.agents) for (const [, type] of agent.types) modalities(type).forEach(hue);
  drawChoices(run);
  for (const drawn of [drawRuns, drawTypes, drawAccuracy, drawLoss, drawBytes, drawConsensus, drawRound]) drawn();
  for (const drawn of [drawContraction, drawEvents, drawPid, drawAgain]) drawn(run);
}

function about(run) {
  const counts = new Map();
  for (const { state } of run.agents) counts.set(state, (counts.get(state) ?? 0) + 1);
  const states = [...counts].map(([state, count]) => `${count} ${state}`).join(", ");
  return `${run.method} on ${run.dataset} · ${run.agents.length} agents (${states}) · ${run.last + 1} of ${run.planned} rounds`;
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
    if (page.round >= last()) { page.round = Infinity; play(false); } else page.round += 1;
  };
  page.playing = setInterval(step, Math.max(60, Math.min(700, 20000 / Math.max(1, last()))));
  step();
}

function begin() {
  page.runs.forEach((_, i) => page.shown.add(i));
  for (const group of document.querySelectorAll("[data-choice]")) {
    for (const button of group.children) button.addEventListener("click", () => { page[group.dataset.choice] = button.value; update(); });
  }
  const listen = (id, name, act) => document.getElementById(id).addEventListener(name, act);
  listen("consensus-slice", "change", (event) => { page.slice.consensus = event.target.value; update(); });
  listen("slice", "change", (event) => { page.slice.network = event.target.value; drawRound(); });
  listen("agent", "change", (event) => { page.agent = event.target.value === "" ? null : Number(event.target.value); page.edge = null; drawRound(); });
  listen("round", "input", (event) => {
    play(false);
    const t = Number(event.target.value);
    page.round = t >= focused().rounds.length - 1 ? Infinity : t;  // at the end it follows a run that goes on
    drawRound();
  });
  listen("play", "click", () => play(page.playing === null));
  listen("copy", "click", copy);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
  update();
}

async function copy() {
  const command = document.getElementById("command"), button = document.getElementById("copy");
  try {
    await navigator.clipboard.writeText(command.textContent);
  } catch {  // not allowed for a file: select it, to be copied by hand
    getSelection().selectAllChildren(command);
    button.textContent = "selected";
    return;
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}
