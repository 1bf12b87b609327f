// The review page: a queue of exposures, and verdicts by keyboard.
"use strict";

const byId = (id) => document.getElementById(id);

let reviewer = remembered("cascade-reviewer") ?? "";
let queue = null; // columns, see ReviewSession.queue
let listed = []; // visible positions in the queue
let current = null; // the displayed exposure, see ReviewSession.exposure
let selected = null; // name of an artifact
let busy = false; // a verdict is being sent
const scopes = Array.from(byId("scope").options, ({ value }) => value); // those that need no predictions

/* The queue. */

const list = new VirtualList(byId("queue"), {
  columns: () => 1, rowHeight: () => 46, role: "option", render: entry, open: (position) => exclusively(() => show(listed[position])),
});

function entry(position) {
  const place = listed[position];
  const mine = queue.mine[place];
  return htmlElement("div", { class: "entry" },
    htmlElement("div", { title: queue.title[place] }, htmlElement("b", {}, queue.title[place]), " ",
      htmlElement("span", { class: mine }, mine)),
    htmlElement("small", {}, `${queue.band[place]} · doubt ${queue.doubt[place].toFixed(2)} · ${queue.n_artifacts[place]} found`));
}

function refilter() {
  const scope = byId("scope").value;
  const words = byId("find").value.trim().toLowerCase();
  listed = [];
  for (let place = 0; place < queue.exposure.length; place += 1) {
    if (["flagged", "open"].includes(scope) && !queue.flagged[place]) continue;
    if (scope === "open" && queue.mine[place]) continue;
    if (scope === "judged" && !queue.mine[place]) continue;
    if (!scopes.includes(scope) && !predictionIs(queue.predicted, place, scope)) continue;
    if (words && !queue.title[place].toLowerCase().includes(words)) continue;
    listed.push(place);
  }
  list.reset(listed.length, Math.max(0, listed.indexOf(placeOf(current?.exposure))));
  showProgress();
}

/** Offer what predictions can be filtered by, and the layer. */
function offerPredictions() {
  byId("predicted").hidden = !queue.predicted;
  if (!queue.predicted || byId("scope").options.length > scopes.length) return;
  byId("scope").append(...predictionChoices(queue.predicted).map((words) => htmlElement("option", { value: words }, words)));
}

const placeOf = (exposure) => queue.exposure.indexOf(exposure);

function showProgress() {
  let n = 0;
  let done = 0;
  for (let place = 0; place < queue.exposure.length; place += 1) {
    if (!queue.flagged[place]) continue;
    n += 1;
    if (queue.mine[place]) done += 1;
  }
  byId("progress").textContent = `${done.toLocaleString("en")} of ${n.toLocaleString("en")} flagged judged by you`;
  byId("bar").value = n ? done / n : 1;
}

async function loadQueue() {
  queue = await fetchJson(`/api/queue?reviewer=${encodeURIComponent(reviewer)}`);
  byId("run").textContent = queue.run;
  byId("who").textContent = `Reviewer: ${reviewer}`;
  offerPredictions();
  refilter();
  const first = listed.findIndex((place) => !queue.mine[place]);
  if (listed.length) await show(listed[Math.max(first, 0)]);
}

/** Display an exposure. */
async function show(place) {
  const exposure = queue.exposure[place];
  let found;
  try {
    found = await fetchJson(`/api/exposures/${exposure}?reviewer=${encodeURIComponent(reviewer)}`);
  } catch (error) {
    say(`The exposure cannot be loaded: ${error.message}`);
    return;
  }
  view = { x: 0, y: 0, side: SIDE };
  put(found);
  const position = listed.indexOf(place);
  if (position >= 0) list.activate(position);
}

/** Display the server's data of an exposure. */
function put(found) {
  const another = current?.exposure !== found.exposure;
  current = found;
  if (another || !artifacts().some(({ name }) => name === selected)) selected = null;
  if (another) stopDrawing();
  const place = placeOf(found.exposure);
  queue.mine[place] = found.mine?.judgement ?? "";
  list.redraw();
  showProgress();
  draw();
}

/** Move along the queue. */
async function step(by) {
  const position = listed.indexOf(placeOf(current?.exposure)) + by;
  if (position >= 0 && position < listed.length) await show(listed[position]);
}

/* The artifacts. */

/** Artifacts of the networks and the reviewer, with the reviewer's verdicts. */
function artifacts() {
  const mine = current.mine ?? { rejected: false, deleted: [], classes: {}, drawn: [] };
  const found = current.artifacts.map((artifact) => ({
    ...artifact,
    class: mine.classes[artifact.name] ?? artifact.class,
    gone: mine.rejected || mine.deleted.includes(artifact.name),
  }));
  return [...found, ...mine.drawn.map((drawn) => ({ ...drawn, gone: false }))];
}

function select(name) {
  selected = name;
  draw();
}

function selectNext(by) {
  const names = artifacts().map(({ name }) => name);
  if (names.length) select(names[(names.indexOf(selected) + by + names.length + (selected ? 0 : by < 0 ? 1 : 0)) % names.length]);
}

/** Run actions one at a time, so that a key held down judges no exposure before it is displayed. */
async function exclusively(action) {
  if (busy) return;
  busy = true;
  try {
    await action();
  } finally {
    busy = false;
  }
}

/** Send a verdict on the displayed exposure, and display the result; undefined if it was rejected. */
async function send(action, more = {}) {
  const { exposure, subject } = current;
  const answer = await post("/api/verdicts", { exposure, subject, action, reviewer, ...more });
  if (answer) put(answer);
  return answer;
}

const verdict = (action, more) => exclusively(() => send(action, more));

/** Judge the exposure as a whole and move to the next. */
const judge = (action) => exclusively(async () => {
  if (await send(action)) await step(1);
});

const undo = () => exclusively(async () => {
  const answer = await post("/api/undo", { reviewer });
  if (answer === null) say("There is nothing to undo.");
  if (!answer) return;
  put(answer);
  const position = listed.indexOf(placeOf(answer.exposure));
  if (position >= 0) list.activate(position);
});

/* Keys, buttons, the mouse. */

function toggle(what) {
  const hidden = document.body.classList.toggle(`hide-${what}`);
  byId(what).setAttribute("aria-pressed", !hidden);
}

const actions = {
  a: () => judge("accept"),
  r: () => judge("reject"),
  j: () => exclusively(() => step(1)),
  k: () => exclusively(() => step(-1)),
  d: startDrawing,
  u: undo,
  m: () => toggle("masks"),
  c: () => toggle("ccds"),
  p: () => queue.predicted && toggle("predicted"),
  x: () => selected && verdict("delete", { artifact: selected }),
  "[": () => selectNext(-1),
  "]": () => selectNext(1),
  "+": () => zoom(0.7),
  "=": () => zoom(0.7),
  "-": () => zoom(1 / 0.7),
  0: () => zoom(SIDE),
  "?": () => byId("keys-dialog").showModal(),
};
for (const { name, key } of CLASSES) {
  actions[key] = () => selected && verdict("class", { artifact: selected, class: name });
}
byId("class-keys").append(...CLASSES.flatMap(({ key }) => [htmlElement("kbd", {}, key), " "]));
byId("class-names").textContent = CLASS_NAMES;

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea") || document.querySelector("dialog[open]");
  if (typing || event.altKey || event.metaKey) return;
  if (event.ctrlKey && event.key.toLowerCase() !== "z") return;
  if (!current && event.key !== "?") return;
  // Keys that hold a button down would press it, too.
  const pressing = event.target.matches("button") && (event.key === " " || event.key === "Enter");
  if (pressing && !sketch) return;
  if (sketch && onDrawingKey(event)) {
    event.preventDefault();
    event.stopPropagation();
    return;
  }
  const action = event.ctrlKey ? undo : actions[event.key.toLowerCase()];
  if (!action || sketch) return;
  event.preventDefault();
  action();
}, { capture: true });

const buttons = {
  accept: actions.a, reject: actions.r, undo, previous: actions.k, next: actions.j,
  draw: () => (sketch ? (stopDrawing(), draw()) : startDrawing()),
  masks: actions.m, ccds: actions.c, predicted: actions.p, keys: actions["?"],
  "zoom-in": actions["+"], "zoom-out": actions["-"], "zoom-reset": actions[0],
};
for (const [id, action] of Object.entries(buttons)) byId(id).addEventListener("click", () => (current || id === "keys") && action());

for (const id of ["overlay", "raw"]) {
  const pane = byId(id);
  let from = null; // where the pointer was pressed, and whether it moved since
  pane.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.85 : 1 / 0.85, placeIn(pane, event));
  }, { passive: false });
  pane.addEventListener("pointerdown", (event) => {
    if (!current || event.button !== 0) return;
    from = { place: placeIn(pane, event), name: event.target.dataset?.name, moved: false };
    pane.setPointerCapture(event.pointerId);
  });
  pane.addEventListener("pointermove", (event) => {
    if (!from || sketch) return;
    const [x, y] = placeIn(pane, event);
    const [dx, dy] = [from.place[0] - x, from.place[1] - y];
    if (!from.moved && Math.hypot(dx, dy) < view.side / 100) return;
    from.moved = true;
    const clip = (start) => Math.max(0, Math.min(SIDE - view.side, start));
    view = { ...view, x: clip(view.x + dx), y: clip(view.y + dy) };
    draw();
  });
  pane.addEventListener("pointerup", (event) => {
    if (!from) return;
    if (sketch) addCorner(placeIn(pane, event));
    else if (!from.moved) select(from.name ?? null);
    from = null;
  });
}

byId("scope").addEventListener("change", refilter);
byId("find").addEventListener("input", refilter);
byId("who").addEventListener("click", askName);

function askName() {
  byId("name").value = reviewer;
  byId("name-dialog").showModal();
}

byId("name-form").addEventListener("submit", () => {
  reviewer = byId("name").value.trim();
  remembered("cascade-reviewer", reviewer);
  if (reviewer) start();
});
byId("name-dialog").addEventListener("cancel", (event) => {
  if (!reviewer) event.preventDefault();
});

async function start() {
  try {
    await loadQueue();
  } catch (error) {
    say(error.message);
  }
}

globalThis.addEventListener("beforeunload", (event) => {
  if (nUnsaved) event.preventDefault();
});
themeButton(byId("theme"));
if (reviewer) {
  // Verdicts that an earlier visit could not save are sent first.
  Promise.all(pending().map(deliver)).then(start);
} else askName();
