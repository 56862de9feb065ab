"use strict";
// A page that is served, not saved, hears of what is new: the whole of a run when it connects, then what changed.

// `patch` as parse_p2p/lab/report/json_diff.py makes it: {is} whole, {at} inside, {more} at the end of a list, {gone} keys
function patched(old, patch) {
  if ("is" in patch) return patch.is;
  for (const [key, inner] of Object.entries(patch.at ?? {})) old[key] = patched(old[key], inner);
  for (const key of patch.gone ?? []) delete old[key];
  if (patch.more) old.push(...patch.more);
  return old;
}

function hear() {
  const source = new EventSource(document.body.dataset.live);
  const status = document.getElementById("status");
  let drawing = null;
  const soon = () => {
    // several changes in a moment are drawn at once
    drawing ??= setTimeout(() => {
      drawing = null;
      tell("live");
      if (page.playing === null) update();
    }, 50);
  };
  const tell = (state) => {
    status.className = state;
    status.textContent =
      about(focused()) + (state === "lost" ? " · nobody serves this page any more; trying again" : "");
  };
  source.addEventListener("whole", (event) => {
    page.runs = JSON.parse(event.data);
    soon();
  });
  source.addEventListener("change", (event) => {
    page.runs = patched(page.runs, JSON.parse(event.data));
    soon();
  });
  source.onopen = () => tell("live");
  source.onerror = () => tell("lost");
  tell("live");
}

begin();
if (document.body.dataset.live) hear();
