// The two panes of the review page: what was found over the preview, the preview alone; zoom; drawing a polygon.
"use strict";

const STEP = 8; // half pixels that an arrow key moves the cursor

const CLASS_KEYS = CLASSES.map(({ key }) => key).join(", ");
const CLASS_NAMES = CLASSES.map(({ name }) => name).join(", ");

let sketch = null; // corners of the polygon being drawn, and the cursor
let view = { x: 0, y: 0, side: SIDE };

function draw() {
  const shown = artifacts();
  byId("title").textContent = current.title;
  const facts = [
    ["input", current.path], ["band", current.band], ["night", current.night],
    ["score", current.score === null ? "–" : current.score.toFixed(3)], ["doubt", current.doubt.toFixed(2)],
    ["you", current.mine?.judgement ?? "not judged"],
    ...current.others.map(([name, judgement]) => [name, judgement]),
  ];
  byId("facts").replaceChildren(...facts.flatMap(([name, value]) => [htmlElement("dt", {}, name), htmlElement("dd", {}, value)]));
  byId("artifacts").replaceChildren(...shown.map(artifactItem));
  if (!shown.length) byId("artifacts").append(htmlElement("li", { class: "quiet" }, "none"));
  drawPredicted(current.predicted);
  byId("hint").textContent = sketch
    ? `Drawing: click corners; ${CLASS_KEYS} ends it as ${CLASS_NAMES}; Enter as ${globalThis.cascadeDrawn}; Esc
    cancels.` : `Brackets or a click select an artifact; ${CLASS_KEYS} set its class, X deletes it.`;
  const label = `Exposure ${current.title}: ${shown.filter(({ gone }) => !gone).map((a) => a.class).join(", ") || "no artifact"}`;
  byId("overlay").replaceChildren(focalSvg(label, shown, current.predicted?.artifacts));
  byId("raw").replaceChildren(focalSvg(`Preview of exposure ${current.title}`, []));
  for (const pane of ["overlay", "raw"]) byId(pane).classList.toggle("drawing", sketch !== null);
  byId("draw").setAttribute("aria-pressed", sketch !== null);
}

/** List what is predicted, and the CCDs on which that differs from what was found. */
function drawPredicted(predicted) {
  byId("predicted-part").hidden = !predicted;
  if (!predicted) return;
  byId("predicted-list").replaceChildren(...predicted.artifacts.map((artifact) =>
    htmlElement("li", {}, htmlElement("i", { class: `swatch ${artifact.class}` }),
      `${artifact.class}, probability ${artifact.score.toFixed(2)}${starOf(artifact)}`)));
  if (!predicted.artifacts.length) byId("predicted-list").append(htmlElement("li", { class: "quiet" }, "none"));
  byId("ccd-differences").replaceChildren(
    ...ccdDifferences(predicted.missed, predicted.unforeseen).map((words) => htmlElement("p", {}, words)));
}

const starOf = ({ star }) => (star ? `: ${star}` : "");

function focalSvg(label, shown, predicted = []) {
  const svg = svgElement("svg", { viewBox: `${view.x} ${view.y} ${view.side} ${view.side}`, role: "img", "aria-label": label });
  if (queue.previews) {
    svg.append(svgElement("image", { href: `/api/previews/${current.exposure}.png`, width: SIDE, height: SIDE }));
  } else {
    for (const [, x, y, width, height] of queue.ccds) svg.append(svgElement("rect", { class: "bare", x, y, width, height }));
    const note = svgElement("text", { class: "note", x: SIDE / 2, y: SIDE / 2 });
    note.textContent = "the previews of this run cannot be read";
    svg.append(note);
  }
  for (const [, x, y, width, height] of queue.ccds) svg.append(svgElement("rect", { class: "ccd", x, y, width, height }));
  for (const artifact of shown) {
    const classes = ["artifact", artifact.class, artifact.gone ? "gone" : "", artifact.name === selected ? "selected" : ""];
    const path = svgElement("path", { class: classes.join(" "), d: outlinePath(artifact.outlines) });
    path.dataset.name = artifact.name;
    svg.append(path);
  }
  svg.append(...predicted.map(predictedPath));
  if (sketch) {
    const points = sketch.corners.map(([x, y]) => `${x} ${y}`);
    if (points.length) svg.append(svgElement("path", { class: "sketch", d: `M${points.join("L")}` }));
    const size = view.side / 130;
    for (const [x, y] of sketch.corners) svg.append(svgElement("circle", { class: "corner", cx: x, cy: y, r: size }));
    const [x, y] = sketch.cursor;
    svg.append(svgElement("path", { class: "cursor", d: `M${x - 2 * size} ${y}h${4 * size}M${x} ${y - 2 * size}v${4 * size}` }));
  }
  return svg;
}

function artifactItem(artifact) {
  const words = `${artifact.class}${artifact.score === undefined ? ", drawn by you" : `, score ${artifact.score.toFixed(2)}${starOf(artifact)}`}`;
  const item = htmlElement("li", { "aria-current": artifact.name === selected },
    htmlElement("i", { class: `swatch ${artifact.class}` }),
    htmlElement("span", { class: artifact.gone ? "gone" : null }, words));
  item.addEventListener("click", (event) => {
    if (!event.target.closest(".edit")) select(artifact.name);
  });
  if (!artifact.gone) {
    const classes = htmlElement("select", { "aria-label": "Class" }, ...CLASSES.map(({ name }) => htmlElement("option", { value: name }, name)));
    classes.value = artifact.class;
    classes.addEventListener("change", () => verdict("class", { artifact: artifact.name, class: classes.value }));
    const remove = htmlElement("button", { type: "button" }, "Delete");
    remove.addEventListener("click", () => verdict("delete", { artifact: artifact.name }));
    item.append(htmlElement("div", { class: "edit" }, classes, remove));
  }
  return item;
}

/** Position of an event on the focal plane, in half pixels. */
function placeIn(pane, event) {
  const box = pane.getBoundingClientRect();
  return [
    view.x + ((event.clientX - box.left - pane.clientLeft) / pane.clientWidth) * view.side,
    view.y + ((event.clientY - box.top - pane.clientTop) / pane.clientHeight) * view.side,
  ];
}

function zoom(factor, [x, y] = [view.x + view.side / 2, view.y + view.side / 2]) {
  const side = Math.max(SIDE / 12, Math.min(SIDE, view.side * factor));
  const clip = (start) => Math.max(0, Math.min(SIDE - side, start));
  const share = side / view.side;
  view = { side, x: clip(x - (x - view.x) * share), y: clip(y - (y - view.y) * share) };
  if (current) draw();
}

/* Drawing. */

function startDrawing() {
  sketch = { corners: [], cursor: [view.x + view.side / 2, view.y + view.side / 2] };
  draw();
}

function stopDrawing() {
  sketch = null;
}

function addCorner([x, y]) {
  const clip = (value) => Math.max(0, Math.min(SIDE, Math.round(value)));
  sketch.corners.push([clip(x), clip(y)]);
  sketch.cursor = [clip(x), clip(y)];
  draw();
}

async function finishDrawing(name) {
  if (sketch.corners.length < 3) {
    say("A polygon needs at least three corners.");
    return;
  }
  const polygon = sketch.corners.map(([x, y]) => [x / 2, y / 2]);
  await exclusively(async () => {
    stopDrawing();
    const answer = await send("draw", { class: name, polygon });
    if (answer) select(answer.mine.drawn.at(-1).name);
  });
}

function onDrawingKey(event) {
  const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
  if (event.key in moves) {
    const clip = (value) => Math.max(0, Math.min(SIDE, value));
    sketch.cursor = sketch.cursor.map((value, axis) => clip(value + moves[event.key][axis] / (event.shiftKey ? 4 : 1)));
    draw();
  } else if (event.key === " ") addCorner(sketch.cursor);
  else if (event.key === "Backspace") {
    sketch.corners.pop();
    draw();
  } else if (event.key === "Escape" || event.key.toLowerCase() === "d") {
    stopDrawing();
    draw();
  } else if (event.key === "Enter") finishDrawing(globalThis.cascadeDrawn);
  else {
    const drawn = CLASSES.find(({ key }) => key === event.key);
    if (!drawn) return false;
    finishDrawing(drawn.name);
  }
  return true;
}
