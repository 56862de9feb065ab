"use strict";
// What stands in tables: runs, types of agents, slices against theory, events, and what pid.json holds.

function drawRuns() {
  const head = ["", "run", "method", "data set", "seed", "rounds", scoreName(page.runs), "worst agent"];
  head.push("bytes an agent and round", "bytes in all", "s a round");
  const rows = page.runs.map((run, i) => {
    const judged = run.agents.filter((agent) => agent.final && !coordinates(agent));
    const worst = [...judged].sort((a, b) => a.final.accuracy - b.final.accuracy)[0];
    const bytes = sum(Object.values(run.slices).map((row) => row.total.at(-1) ?? 0));
    const done = sum(run.agents.map((agent) => (coordinates(agent) ? 0 : known(agent.sent).length))) * run.stride;
    const seconds = known(run.agents.flatMap((agent) => agent.seconds));
    return [
      chooser(run, i),
      radio(run, i),
      run.method,
      run.dataset,
      run.seed,
      `${run.last + 1} of ${run.planned}`,
      judged.length ? mean(judged.map((agent) => agent.final.accuracy)).toFixed(3) : "",
      worst ? `${worst.final.accuracy.toFixed(3)} (${worst.id})` : "",
      done ? size(bytes / done) : "",
      size(bytes),
      seconds.length ? median(seconds).toFixed(2) : "",
    ].map((part) => (part instanceof Node ? part : String(part)));
  });
  tabulate("runs", head, rows, 4);
  fill(
    "notes",
    ...page.runs.flatMap((run) =>
      run.notes.map((note) => make("li", {}, page.runs.length > 1 ? `${run.name}: ${note}` : note)),
    ),
  );
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
  box.addEventListener("change", () => {
    update({ focus: i, round: Infinity, agent: null, edge: null });
  });
  return make("label", {}, box, " ", run.name);
}

function drawTypes() {
  const runs = shownRuns().map(([run]) => run);
  text("types-hint", `${scoreTitle(runs)} on the test set with each agent's own modalities, mean ± standard deviation.`);
  const types = [...new Set(runs.flatMap((run) => run.agents.map((agent) => typeAt(agent, Infinity))))];
  const any = (key) => runs.map((run) => run.summary?.types?.some?.((row) => row[key] != null));
  // of several runs only what is compared, so that they fit side by side
  const columns = runs.map((run, r) => {
    const alone = any("alone")[r],
      one = runs.length === 1;
    return [
      ...(one ? [["agents", (row) => row.length]] : []),
      ...(one && alone ? [["alone", (row, told) => number(told?.alone)]] : []),
      [
        one ? run.method : run.score,
        (row) => make("span", {}, make("strong", {}, mean(row).toFixed(3)), ` ± ${std(row).toFixed(3)}`),
      ],
      ...(alone ? [["gain", (row, told) => signed(told?.alone == null ? null : mean(row) - told.alone)]] : []),
      ["worst", (row) => Math.min(...row).toFixed(3)],
      ...(one && any("ceiling")[r] ? [["ceiling", (row, told) => number(told?.ceiling)]] : []),
    ];
  });
  const line = (tag, parts) => make("tr", {}, ...parts.map(([part, facts]) => make(tag, facts, part)));
  const head = [
    ["agents with", { class: "text" }],
    ...columns.flatMap((some) => some.map(([name], i) => [name, i ? {} : { class: "first" }])),
  ];
  const body = types.map((type) =>
    line("td", [
      [make("span", {}, dot(hue(type)), type || "?"), { class: "text" }],
      ...columns.flatMap((some, r) => {
        const row = runs[r].agents
          .filter((agent) => agent.final && typeAt(agent, Infinity) === type)
          .map((agent) => agent.final.accuracy);
        const told = runs[r].summary?.types?.find?.((entry) => entry.type === type);
        return some.map(([, cell], i) => [row.length ? toNode(cell(row, told)) : "", i ? {} : { class: "first" }]);
      }),
    ]),
  );
  const named = runs.map((run, r) => [run.name, { class: "group", colspan: columns[r].length }]);
  const groups = runs.length > 1 ? [line("th", [["", {}], ...named])] : [];
  fill("types", make("thead", {}, ...groups, line("th", head)), make("tbody", {}, ...body));
}

const number = (value) => (typeof value === "number" ? value.toFixed(3) : "");
const signed = (value) => (value == null ? "" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3));
const toNode = (part) => (part instanceof Node ? part : String(part));

// what `metrics` of the run file asks for and what arrived came to, as it was last; of a class that an agent has no test sample of it has none
function drawMetrics(run) {
  const judged = run.agents.filter((agent) => !coordinates(agent));
  const names = [...new Set(judged.flatMap((agent) => Object.keys(agent.scores)))];
  const rows = names.map((name) => {
    const those = judged.filter((agent) => name in agent.scores).sort((a, b) => a.scores[name] - b.scores[name]);
    const shown = (agent) => `${agent.scores[name].toFixed(3)} (${agent.id})`;
    const average = mean(those.map((agent) => agent.scores[name])).toFixed(3);
    return [name, average, shown(those[0]), shown(those.at(-1)), String(those.length)];
  });
  document.getElementById("metrics-box").hidden = !rows.length;
  tabulate("metrics", ["metric", "mean", "lowest", "highest", "agents"], rows, 1);
}

// of every slice what is left of the distance in a round, beside what theory allows
function drawContraction(run) {
  const rows = Object.entries(run.consensus)
    .filter(([, row]) => row.after?.some((value) => value != null))
    .map(([slice, row]) => {
      const whole = run.rounds
        .map((_, t) => t)
        .filter((t) => row.before[t] > 0 && row.after[t] != null && row.agents[t] === row.holders[t]);
      const left = whole.map((t) => row.after[t] / row.before[t]),
        lacking = known(row.after).length - whole.length;
      // a sketch has five digits: what is left of a distance is known to about that of the sketch itself
      const bounded = whole.filter((t) => row.bound[t] != null);
      const within = bounded.filter((t) => row.after[t] <= row.bound[t] + 1e-3 * row.before[t] + 1e-5).length;
      return [
        slice,
        String(known(row.holders).at(-1) ?? ""),
        number(known(row.rho).at(-1)),
        left.length ? number(median(left)) : "",
        left.length ? number(Math.max(...left)) : "",
        bounded.length ? `${within} of ${bounded.length}` : "",
        lacking > 0 ? String(lacking) : "",
      ];
    });
  document.getElementById("contraction-box").hidden = !rows.length;
  const left = ["left of the distance: median", "most", "rounds within ρ", "rounds without all holders"];
  tabulate("contraction", ["slice", "holders", "ρ", ...left], rows, 1);
}

function drawEvents(run) {
  fill(
    "kinds",
    ...Object.entries(KINDS).map(([kind]) => {
      const count = run.events.filter((event) => event.kind === kind).length;
      const button = make("button", { value: kind, "aria-pressed": page.kinds.has(kind) }, `${kind} ${count}`);
      button.addEventListener("click", () => {
        page.kinds[page.kinds.has(kind) ? "delete" : "add"](kind);
        update();
      });
      return button;
    }),
  );
  document.getElementById("kinds").hidden = !run.events.length;
  const some = run.events.filter((event) => page.kinds.has(event.kind));
  drawTimeline(run, some);
  const rows = some
    .slice(0, 300)
    .map((event) => [String(event.round), `${event.time.toFixed(1)} s`, event.agent, event.kind, event.note]);
  const made = table(["round", "after", "agent", "kind", "what happened"], rows, 5);
  for (const row of made.querySelectorAll("tbody tr")) row.lastChild.className = "note";
  fill("events", ...(rows.length ? made.children : []));
  const hidden = some.length - rows.length + run.left_out;
  text(
    "events-hint",
    !run.events.length
      ? "Nothing out of the ordinary was logged."
      : hidden > 0
        ? `${hidden} later events are not listed here; the logs have them all.`
        : "",
  );
}

const LONGEST = 300; // rows of a table that are shown
const SHORT = 12; // rows of a table that is open from the beginning

const spaced = (name) => name.replaceAll("_", " ");
const record = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

function shortly(value) {
  if (typeof value === "number") return String(+value.toPrecision(4));
  return value == null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
}

function records(rows) {
  const keys = [...new Set(rows.flatMap(Object.keys))];
  const texts = keys.findIndex((key) => rows.some((row) => typeof row[key] === "number" && key !== "round"));
  const cells = rows.slice(0, LONGEST).map((row) => keys.map((key) => shortly(row[key])));
  const made = [make("div", { class: "wide tall" }, table(keys.map(spaced), cells, texts < 0 ? keys.length : texts))];
  if (rows.length > LONGEST) made.push(make("p", { class: "hint" }, `${rows.length - LONGEST} more are in the file.`));
  return made;
}

// whatever pid.json holds: a list of records becomes a table that folds, all else a name with its value
function drawPid(run) {
  const text = JSON.stringify(run.pid);
  document.getElementById("pid-box").hidden = run.pid == null;
  if (page.pid === text) return; // what a person has unfolded stays so
  page.pid = text;
  const whole = record(run.pid) ? run.pid : { all: run.pid };
  const tables = Object.entries(whole).filter(([, rows]) => Array.isArray(rows) && rows.length && rows.every(record));
  const rest = Object.entries(whole).filter(([name]) => !tables.some(([other]) => other === name));
  const folded = tables.map(([name, rows]) => {
    const head = make("summary", {}, `${spaced(name)} (${rows.length})`);
    return make("details", rows.length <= SHORT ? { open: "" } : {}, head, ...records(rows));
  });
  const plain = rest.map(([name, value]) => make("p", {}, `${spaced(name)}: ${shortly(value)}`));
  fill("pid", ...plain, ...folded);
}

function drawAgain(run) {
  text("command", run.command);
  text(
    "versions",
    `Page made with ${Object.entries(run.versions)
      .map(([name, is]) => `${name} ${is}`)
      .join(", ")}. Rounds count from 0, as in the logs and in the run file.`,
  );
  text("config", run.config);
}
