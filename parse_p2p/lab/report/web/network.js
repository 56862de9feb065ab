"use strict";
// The graph of one round: who was there, and what crossed every edge.

const WIDEST = 0.055,
  THINNEST = 0.007;

function svg(tag, facts, ...inner) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(facts)) made.setAttribute(key, value);
  made.append(...inner);
  return made;
}

// a part of the graph that a person chooses, by mouse or key, and with it what is shown
function pressable(tag, facts, said, key, chosen) {
  const spoken = { tabindex: 0, role: "button", "aria-label": said, "data-key": key };
  const made = svg(tag, { ...facts, ...spoken }, svg("title", {}, said));
  const choose = () => update(chosen);
  made.addEventListener("click", choose);
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose();
  });
  return made;
}

const pair = (a, b) => `${Math.min(a, b)} ${Math.max(a, b)}`;

// [{from, to, slices, bytes}] of a round, of one slice or of all
function crossed(run, t, slice) {
  const found = [];
  run.agents.forEach((agent, from) => {
    for (const [to, payload] of run.sends[agent.sent[t]] ?? []) {
      const all = run.payloads[payload];
      const slices = slice === "all" ? all : slice in all ? { [slice]: all[slice] } : {};
      const bytes = sum(Object.values(slices));
      if (bytes > 0) found.push({ from, to, slices, bytes });
    }
  });
  return found;
}

// the same by the pair of agents, both ways together
function byPair(run, t, slice) {
  const pairs = new Map();
  for (const sent of crossed(run, t, slice)) {
    const key = pair(sent.from, sent.to);
    pairs.set(key, [...(pairs.get(key) ?? []), sent]);
  }
  return pairs;
}

const bytesOf = (both) => sum(both.map((sent) => sent.bytes));

// what theory lays: the edges of the slice's overlay in that round, or of all of them
function planned(run, t, slice) {
  const names = slice === "all" ? Object.keys(run.overlays) : [slice];
  const pairs = new Map();
  for (const name of names) {
    for (const [a, b] of run.graphs[run.overlays[name]?.[t]] ?? []) pairs.set(pair(a, b), [a, b]);
  }
  return names.length ? [...pairs.values()] : run.graph.edges;
}

function condition(run, agent, t) {
  if (agent.sent[t] != null || agent.accuracy[t] != null) return "there";
  if (agent.absent.includes(run.rounds[t])) return "absent";
  return agent.here ? "silent" : "away";
}

const SAID = {
  there: "took part",
  absent: "is not in the run in this round",
  silent: "logged nothing in this round",
  away: "has no log here",
};

function drawNetwork(run, t) {
  const box = document.getElementById("network"),
    slice = page.slice.network;
  const focused = document.activeElement?.dataset?.key;
  const positions = run.graph.positions.map(([x, y]) => [x * 1.02, y * 1.0]);
  const pairs = byPair(run, t, slice);
  const lines = [],
    most = heaviest(run);
  const slim = Math.min(1, 20 / run.agents.length); // many agents have many edges
  box.style.setProperty("--label", `${0.04 + 0.035 * slim}px`);
  for (const [a, b] of planned(run, t, slice)) {
    if (!pairs.has(pair(a, b))) lines.push(svg("line", { class: "planned", ...ends(positions, a, b) }));
  }
  for (const [key, both] of [...pairs].sort()) {
    const [a, b] = key.split(" ").map(Number);
    const said = both
      .map((sent) => `${run.agents[sent.from].id} → ${run.agents[sent.to].id}: ${size(sent.bytes)}`)
      .join("\n");
    const width = (slim * (THINNEST + ((WIDEST - THINNEST) * bytesOf(both)) / most)).toFixed(4);
    const facts = { class: "wire", "stroke-width": width, ...ends(positions, a, b) };
    const line = pressable("line", facts, said, `edge ${key}`, { edge: key, agent: null });
    if (page.agent != null && a !== page.agent && b !== page.agent) line.classList.add("dim");
    lines.push(line);
  }
  const radius = run.agents.length > 30 ? 0.035 : run.agents.length > 16 ? 0.05 : 0.065;
  box.replaceChildren(...lines, ...run.agents.map((agent, i) => node(run, agent, i, t, positions[i], radius)));
  if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  drawLegend(run, t);
}

const ends = (positions, a, b) => ({ x1: positions[a][0], y1: -positions[a][1], x2: positions[b][0], y2: -positions[b][1] });

// bytes of the busiest edge in any round, so that widths of different rounds compare; for one slice, of that slice
function heaviest(run) {
  const key = `${page.slice.network} ${run.rounds.length}`;
  if (run.heaviest?.key !== key) {
    let most = 1;
    for (let t = 0; t < run.rounds.length; t += Math.ceil(run.rounds.length / 50)) {
      most = Math.max(most, ...[...byPair(run, t, page.slice.network).values()].map(bytesOf));
    }
    Object.defineProperty(run, "heaviest", { value: { key, most }, enumerable: false, configurable: true });
  }
  return run.heaviest.most;
}

function node(run, agent, i, t, [x, y], radius) {
  const type = typeAt(agent, run.rounds[t] ?? 0),
    state = condition(run, agent, t);
  const said = `${agent.id} (${type}) ${SAID[state]}`;
  const facts = { class: `node ${state}`, transform: `translate(${x} ${-y})` };
  const made = pressable("g", facts, said, `agent ${i}`, { agent: page.agent === i ? null : i, edge: null });
  made.append(
    ...pie(type, radius),
    svg("circle", { class: "rim", r: radius }),
    svg("text", { y: radius + 0.02 + 0.065 * Math.min(1, 20 / run.agents.length) }, agent.id),
  );
  if (page.agent === i) made.classList.add("chosen");
  return made;
}

const modalities = (type) => type.split(": ")[0].split("+");

// a disc with a sector for every modality
function pie(type, r) {
  const parts = modalities(type);
  if (parts.length === 1) return [svg("circle", { class: "fill", r, fill: hue(parts[0]) })];
  return parts.map((name, i) => {
    const [a, b] = [i, i + 1].map((k) => (2 * Math.PI * k) / parts.length - Math.PI / 2);
    const arc = `M0 0L${r * Math.cos(a)} ${r * Math.sin(a)}A${r} ${r} 0 0 1 ${r * Math.cos(b)} ${r * Math.sin(b)}Z`;
    return svg("path", { class: "fill", d: arc, fill: hue(name) });
  });
}

function drawLegend(run, t) {
  const names = [...new Set(run.agents.flatMap((agent) => agent.types.flatMap(([, type]) => modalities(type))))];
  const entries = names.filter(Boolean).map((name) => [dot(hue(name)), name]);
  if (run.agents.some((agent) => condition(run, agent, t) !== "there"))
    entries.push([dot(css("--off")), "logged nothing in this round"]);
  legend("legend", entries, make("span", {}, "width: bytes both ways · dashed: overlay without messages"));
}

// what the chosen agent or edge did, or the whole network
function drawCrossing(run, t) {
  const all = crossed(run, t, page.slice.network),
    name = (i) => run.agents[i].id;
  const chosen = page.agent != null ? run.agents[page.agent] : null;
  const rows = (some, head, who) => {
    const cells = (sent) =>
      Object.entries(sent.slices).map(([slice, bytes], i) => [i ? "" : who(sent), slice, size(bytes)]);
    return some.length ? [make("h4", {}, head), table(["", "slice", "bytes"], some.flatMap(cells), 2)] : [];
  };
  const sent = all.filter((sent) => sent.from === page.agent),
    got = all.filter((sent) => sent.to === page.agent);
  const inside = [];
  if (chosen) {
    const there = condition(run, chosen, t);
    const numbers = [
      [run.score, chosen.accuracy[t]?.toFixed(3)],
      ["loss", chosen.loss[t]?.toPrecision(3)],
      ["peers alive", chosen.alive[t]],
      ["out", size(chosen.wire_out[t])],
      ["in", size(chosen.wire_in[t])],
    ].filter(([, value]) => value != null);
    inside.push(
      make("h3", {}, `${chosen.id} (${typeAt(chosen, run.rounds[t])})`),
      make("p", {}, `It ${SAID[there]}. ` + numbers.map(([what, value]) => `${what} ${value}`).join(" · ")),
      ...rows(sent, "sends to", (sent) => name(sent.to)),
      ...rows(got, "gets from", (sent) => name(sent.from)),
    );
  } else if (page.edge) {
    const [a, b] = page.edge.split(" ").map(Number);
    const both = all.filter((sent) => pair(sent.from, sent.to) === page.edge);
    inside.push(
      make("h3", {}, `${name(a)} and ${name(b)}`),
      ...(both.length ? [] : [make("p", {}, "Nothing crossed here in this round.")]),
      ...rows(both, "what crossed", (sent) => `${name(sent.from)} → ${name(sent.to)}`),
    );
  } else {
    const sums = new Map();
    for (const { slices } of all)
      for (const [slice, bytes] of Object.entries(slices)) sums.set(slice, (sums.get(slice) ?? 0) + bytes);
    const there = run.agents.filter((agent) => condition(run, agent, t) === "there").length;
    const took = `${there} of ${run.agents.length} agents took part`;
    inside.push(
      make("h3", {}, "The whole network"),
      make("p", {}, `${took}; choose an agent or an edge to see who sent which slices.`),
      table(["slice", "bytes"], [...sums].map(([slice, bytes]) => [slice, size(bytes)])),
    );
  }
  const here = (event) => event.round === run.rounds[t] && (!chosen || event.agent === chosen.id);
  const happened = run.events.filter(here);
  if (happened.length) {
    const said = happened.slice(0, 12).map((event) => `${event.agent}: ${event.note}`);
    if (happened.length > 12) said.push(`and ${happened.length - 12} more`);
    const items = said.map((each) => make("li", {}, each));
    inside.push(make("h4", {}, "what happened in this round"), make("ul", {}, ...items));
  }
  fill("crossing", ...inside);
}
