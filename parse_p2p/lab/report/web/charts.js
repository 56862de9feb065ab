"use strict";
// The pictures that plotly draws. `page` (page.js) says what is chosen; every function draws anew from the runs.

const HUES = [
  "#4c82b8", "#e0813c", "#3a9d78", "#b5507a", "#8067b7", "#b08b2e", "#45a5b8",
  "#a06a4b", "#7d9a3c", "#c26a9d", "#5a6fd0", "#c4574f", "#4f8f5b", "#967bb6",
];
const DASHES = ["solid", "dot", "dash", "dashdot", "longdash", "longdashdot"];
const REST = "headers, heartbeats";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

let revision = 0;

function draw(id, traces, layout = {}) {
  const axis = { gridcolor: css("--faint"), linecolor: css("--line"), zerolinecolor: css("--line"), automargin: true };
  const all = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false, // most have one of their own, below the picture
    uirevision: id,
    datarevision: (revision += 1), // arrays grow in place, which plotly does not see by itself
    font: { family: "system-ui, sans-serif", size: 12, color: css("--ink") },
    margin: { l: 52, r: 12, t: 8, b: 40 },
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--ink") }, namelength: -1 },
    ...layout,
    legend: {
      orientation: "h",
      y: -0.2,
      yanchor: "top",
      font: { size: 11, color: css("--soft") },
      ...layout.legend,
    },
    xaxis: { ...axis, title: { text: "round" }, ...layout.xaxis },
    yaxis: { ...axis, ...layout.yaxis },
  };
  const config = {
    displaylogo: false,
    responsive: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };
  return Plotly.react(document.getElementById(id), traces, all, config);
}

// plotly reads a few tags such as <b> in names: what came from files must not be read so
const plainly = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

// one colour for a type or a modality in all runs
function hue(name) {
  const known = page.hues;
  if (!known.has(name)) known.set(name, HUES[known.size % HUES.length]);
  return known.get(name);
}

const typeAt = (agent, round) => agent.types.filter(([first]) => first <= round).at(-1)?.[1] ?? agent.types[0][1];
const shownRuns = () => page.runs.map((run, i) => [run, i]).filter(([, i]) => page.shown.has(i));
const several = () => page.shown.size > 1;
const label = (name, run) => (several() ? `${name} · ${run.name}` : name);

// one line by round; `label` is its name for a legend outside of plotly
function trace(run, y, name, line, more) {
  return { x: run.rounds, y, name: plainly(name), label: name, mode: "lines", line, ...more };
}

function curves(key, by = page.by) {
  const traces = [];
  for (const [run, i] of shownRuns()) {
    const line = { dash: DASHES[i % DASHES.length] };
    if (by === "type") {
      for (const [name, row] of Object.entries(run.types)) {
        if (!row[key]) continue;
        if (key === "accuracy" && !several()) traces.push(...band(run, name, row));
        const dots = { mode: "lines+markers", marker: { size: run.rounds.length > 60 ? 1 : 4 } };
        const hovertemplate = "round %{x}: %{y:.3f}";
        traces.push(
          trace(run, row[key], label(name, run), { ...line, color: hue(name), width: 2 }, { ...dots, hovertemplate }),
        );
      }
      continue;
    }
    for (const agent of run.agents) {
      const type = typeAt(agent, Infinity);
      const hovertemplate = `${plainly(agent.id)}, round %{x}: %{y:.3f}`;
      const drawn = { ...line, color: hue(type), width: 1.4 };
      traces.push(trace(run, agent[key], label(type, run), drawn, { opacity: 0.75, hovertemplate }));
    }
  }
  return traces;
}

// from the worst to the best agent of a type
function band(run, name, row) {
  const side = { x: run.rounds, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  return [
    { ...side, y: row.worst },
    { ...side, y: row.best, fill: "tonexty", fillcolor: hue(name) + "22" },
  ];
}

// colours are types, dashes are runs
function curveLegend(id) {
  const types = [
    ...new Set(shownRuns().flatMap(([run]) => run.agents.flatMap((agent) => agent.types.map(([, type]) => type)))),
  ];
  const runs = several() ? shownRuns() : [];
  legend(id, [...types.map((type) => [dot(hue(type)), type]), ...runs.map(([run, i]) => [dashed(i), run.name])]);
}

const STROKES = ["", "1 4", "6 4", "6 3 1 3", "10 4", "10 3 1 3"];

function dashed(i) {
  const line = svg("path", { d: "M1 4H27", "stroke-dasharray": STROKES[i % STROKES.length] });
  return svg("svg", { width: 28, height: 8, class: "dash" }, line);
}

// accuracy, or what other tasks than classification have in its place
const scoreName = (runs) => [...new Set(runs.map((run) => run.score))].join(", ");
const scoreTitle = (runs) => scoreName(runs).replace(/^./, (first) => first.toUpperCase());

function drawAccuracy() {
  const runs = shownRuns().map(([run]) => run);
  text("accuracy-title", scoreTitle(runs));
  curveLegend("accuracy-legend");
  draw("accuracy", curves("accuracy"), { yaxis: { title: { text: scoreName(runs) } } });
  const spread =
    page.by === "type" && !several()
      ? "Lines are means over agents, bands reach from the worst to the best."
      : page.by === "type"
        ? "Lines are means over the agents of a type; runs differ by the dashes."
        : "One line an agent.";
  text("accuracy-hint", spread);
}

function drawLoss() {
  // a type's loss is the one it trained on; the test loss is known by agent
  const traces = page.loss === "loss" ? curves("loss") : curves("test_loss", "agent");
  curveLegend("loss-legend");
  draw("loss", traces, { yaxis: { title: { text: page.loss === "loss" ? "training loss" : "test loss" } } });
}

function sliceHue(run, name) {
  if (name === REST) return css("--off");
  return HUES[Object.keys(run.slices).indexOf(name) % HUES.length];
}

function drawBytes() {
  const key = page.bytes,
    traces = [];
  if (several()) {
    for (const [run, i] of shownRuns()) {
      const rows = Object.values(run.slices);
      const sums = run.rounds.map((_, t) => sum(rows.map((row) => row[key][t])));
      traces.push(trace(run, sums, run.name, { color: HUES[i % HUES.length], width: 2 }));
    }
    text("bytes-hint", "All bytes on the wire, a line a run; choose one run to see its slices.");
  } else {
    for (const [run] of shownRuns()) {
      for (const [name, row] of Object.entries(run.slices)) {
        const stacked = { stackgroup: "all", hovertemplate: "round %{x}: %{y:.3s}B" };
        traces.push(trace(run, row[key], name, { width: 0.5, color: sliceHue(run, name) }, stacked));
      }
    }
    const running = shownRuns().some(([run]) => run.agents.some((agent) => agent.state === "running"));
    const unfinished = running ? " The latest rounds are not complete yet." : "";
    text("bytes-hint", `All agents together, as the senders counted them.${unfinished}`);
  }
  legend("bytes-legend", named(traces));
  draw("bytes", traces, { yaxis: { title: { text: "bytes" }, tickformat: "~s", rangemode: "tozero" } });
}

// names of slices are long: they stand below the picture, where they wrap
function legend(id, entries, ...more) {
  fill(id, ...entries.map(([mark, name]) => make("span", {}, mark, name)), ...more);
}

const named = (traces) => traces.map((trace) => [dot(trace.line.color), trace.label]);

function drawConsensus() {
  const name = page.slice.consensus,
    traces = [];
  const positive = (row) => row.map((value) => (value > 0 ? value : null));
  for (const [run, i] of shownRuns()) {
    if (name === "all" && i !== page.focus) continue;
    for (const [slice, row] of Object.entries(run.consensus)) {
      if (name !== "all" && slice !== name) continue;
      if (!row.after) continue;
      const add = (distances, name, line, more) =>
        traces.push(trace(run, positive(distances), name, line, { hovertemplate: "round %{x}: %{y:.3g}", ...more }));
      const color = HUES[i % HUES.length];
      if (name === "all") {
        add(row.after, slice, { width: 1.6, color: sliceHue(run, slice) });
        continue;
      }
      add(row.before, label("before mixing", run), { color, width: 1.4 }, { opacity: 0.5 });
      add(row.after, label("after mixing", run), { color, width: 2.2 });
      if (known(row.bound).length)
        add(row.bound, label("theory allows", run), { color: css("--soft"), width: 1.4, dash: "dash" });
    }
  }
  legend("consensus-legend", name === "all" ? named(traces) : []);
  const values = traces.flatMap((trace) => known(trace.y)),
    wide = Math.max(...values) > 30 * Math.min(...values);
  draw("consensus", traces, {
    showlegend: name !== "all",
    legend: { y: -0.26 },
    yaxis: { type: "log", title: { text: "distance" }, exponentformat: "power", dtick: wide ? 1 : "D2" },
  });
}

// lines of one run: colours are kinds of pairs, dashes are runs
const SIDES = {
  across: ["one modality – several", "#c4574f", 2.4],
  unimodal: ["among those with one", "#4c82b8", 1.4],
  multimodal: ["among those with several", "#3a9d78", 1.4],
};

function drawConflict() {
  const name = page.slice.conflict,
    traces = [];
  for (const [run, i] of shownRuns()) {
    const row = run.conflict?.[name];
    for (const [side, [said, color, width]] of row ? Object.entries(SIDES) : []) {
      if (!known(row[side]).length) continue;
      const line = { color, width, dash: DASHES[i % DASHES.length] };
      const dots = { mode: "lines+markers", marker: { size: run.rounds.length > 60 ? 1 : 4 } };
      const customdata = row.agents.map(([one, several]) => {
        const n = side === "multimodal" ? several : one;
        return side === "across" ? one * several : (n * (n - 1)) / 2;
      });
      const hovertemplate = "round %{x}: %{y:.2f}, mean of %{customdata} pairs";
      traces.push(trace(run, row[side], label(said, run), line, { ...dots, customdata, hovertemplate }));
    }
  }
  const error = shownRuns()[0][0].sketch_error;
  text(
    "conflict-hint",
    traces.length
      ? "Mean cosine between how two agents moved the slice in their local steps, whatever optimiser made of the " +
          "gradients; below 0 they undo each other. Agents with different samples never agree fully: read the first " +
          `line beside the other two. From sketches: chance moves the cosine of one pair by ±${error.toFixed(2)} ` +
          "(standard error), a mean of many by less."
      : "No slice that two agents share was moved by local steps in two rounds on end, as far as is logged.",
  );
  draw("conflict", traces, {
    showlegend: true,
    legend: { y: -0.26 },
    yaxis: { title: { text: "cosine" }, zeroline: true, zerolinewidth: 2 },
  });
}

const SYMBOLS = [
  ["circle", "●"],
  ["x", "✖"],
  ["diamond-open", "◇"],
  ["triangle-up", "▲"],
  ["square-open", "□"],
  ["star", "★"],
];

// the slices of two agents on held-out samples; `pictures` is made by parse_p2p/lab/analysis/slice_pictures.py
function drawPictures(run) {
  const box = document.getElementById("pictures-box"),
    found = run.pictures;
  box.hidden = !found;
  if (!found) return;
  const modalities = [...new Set(found.panels.flatMap((panel) => Object.keys(panel.points)))];
  const symbol = (modality) => SYMBOLS[modalities.indexOf(modality) % SYMBOLS.length];
  const shade = (i) => HUES[i % HUES.length];
  text(
    "pictures-hint",
    found.why
      ? `Not drawn: ${found.why}.`
      : "Latents of held-out samples on their two principal components, coloured by class. Where redundant slices are " +
          "aligned, a class lies in one place whichever modality it was read from; the share of the variance that an " +
          "axis has stands at it.",
  );
  legend("pictures-legend", [
    ...found.classes.map((name, i) => [dot(shade(i)), name]),
    ...(modalities.length > 1 ? modalities.map((name) => [`${symbol(name)[1]} `, name]) : []),
  ]);
  fill(
    "pictures",
    ...found.panels.map((panel, i) => {
      const of = Object.keys(panel.points).join(" and ");
      const said = `${panel.slice}, ${of}: ${panel.agent} (${panel.type}) after ${panel.round} rounds`;
      const facts = { id: `picture-${i}`, class: "chart", role: "img" };
      const about = `${said}: ${panel.labels.length} held-out samples by class, in two dimensions`;
      return make("figure", {}, make("figcaption", {}, said), make("div", { ...facts, "aria-label": about }));
    }),
  );
  found.panels.forEach((panel, i) => {
    const traces = Object.entries(panel.points).map(([modality, [x, y]]) => ({
      x,
      y,
      mode: "markers",
      text: panel.labels.map((label) => plainly(`${found.classes[label]}, ${modality}`)),
      hovertemplate: "%{text}<extra></extra>",
      marker: { color: panel.labels.map(shade), symbol: symbol(modality)[0], size: 5, opacity: 0.75 },
    }));
    const title = (k) => ({ text: `${Math.round(100 * panel.explained[k])} %`, standoff: 4 });
    draw(`picture-${i}`, traces, {
      margin: { l: 40, r: 8, t: 8, b: 36 },
      xaxis: { title: title(0), nticks: 5 },
      yaxis: { title: title(1), nticks: 5, scaleanchor: "x" },
    });
  });
}

const KINDS = {
  fault: ["#c4574f", "x"],
  messages: ["#b08b2e", "circle-open"],
  peers: ["#8067b7", "diamond"],
  change: ["#3a9d78", "triangle-up"],
  life: ["#7d8794", "square-open"],
  other: ["#7d8794", "star-open"],
};

function drawTimeline(run, events) {
  const order = run.agents.map((agent) => plainly(agent.id));
  const traces = Object.entries(KINDS)
    .map(([kind, [color, symbol]]) => {
      const some = events.filter((event) => event.kind === kind);
      return {
        x: some.map((e) => e.round),
        y: some.map((e) => plainly(e.agent)),
        text: some.map((e) => plainly(e.note)),
        name: kind,
        mode: "markers",
        marker: { color, symbol, size: 9 },
        hovertemplate: "%{y}, round %{x}: %{text}<extra></extra>",
      };
    })
    .filter((trace) => trace.x.length);
  const box = document.getElementById("timeline");
  box.hidden = !traces.length;
  if (box.hidden) return;
  const last = Math.max(1, run.last, ...events.map((event) => event.round));
  draw("timeline", traces, {
    height: 110 + 18 * order.length,
    showlegend: true,
    legend: { y: 1.02, yanchor: "bottom" },
    margin: { l: 52, r: 12, t: 30, b: 40 },
    xaxis: { range: [-0.5, last + 0.5] },
    yaxis: {
      type: "category",
      categoryorder: "array",
      categoryarray: order,
      range: [order.length - 0.5, -0.5],
      dtick: 1,
    },
  });
}
