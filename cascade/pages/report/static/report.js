// The list, the gallery and the single exposure of a report.
"use strict";

const season = globalThis.cascadeSeason;
const details = new Map(); // part -> promise of its exposures
const waiting = new Map(); // part -> resolver of that promise
const byId = (id) => document.getElementById(id);
const nothing = "–";
const rankOf = new Map(season.shown.map((row, rank) => [row, rank])); // row -> place among those with details
const wasFlagged = new Set(season.flagged);
const sorts = {
  area: ["largest area", season.area, -1],
  doubt: ["most uncertain", season.doubt, -1],
  score: ["highest score", season.score, -1],
  low: ["lowest score", season.score, 1],
  vetoed: ["most vetoed CCDs", season.n_vetoed, -1],
  order: ["order of the run", season.exposure, 1],
};
let rows = []; // of the season, filtered and sorted
let shown = []; // those of them that were flagged, or for which something is predicted
let opened = -1; // position in the list that the dialog steps through
let walked = []; // that list

/** Called by each part of the details when it loads. */
globalThis.cascadeDetail = (part, exposures) => waiting.get(part)?.(exposures);

/** Load the details of an exposure: its artifacts and CCDs, and with predictions what `detail_parts` says of these. */
function detail(row) {
  const rank = rankOf.get(row);
  if (rank === undefined) return Promise.resolve([[], []]);
  const part = Math.floor(rank / season.part_size);
  if (!details.has(part)) {
    const inPage = globalThis.cascadeDetails?.[part];
    details.set(part, inPage ? Promise.resolve(inPage) : new Promise((resolve) => {
      waiting.set(part, resolve);
      const script = htmlElement("script", { src: `details/${part}.js` });
      script.addEventListener("error", () => resolve([]));
      document.head.append(script);
    }));
  }
  return details.get(part).then((exposures) => exposures[rank % season.part_size] ?? [[], []]);
}

const scaled = (value, digits, shown) => (value === null ? nothing : (value / 10 ** digits).toFixed(shown));
const score = (row) => scaled(season.score[row], 4, 3);
const area = (row) => (season.area[row] === null ? nothing : `${(season.area[row] / 1000).toFixed(2)} %`);
const status = (row) => season.statuses[season.status[row]];
const band = (row) => season.bands[season.band[row]];
const night = (row) => season.nights[season.night[row]];
const path = (row) => season.folders[season.folder[row]] + season.name[row];
const title = (row) => (season.expnum[row] === null ? season.name[row] : String(season.expnum[row]));
const verdict = (row) => (rankOf.has(row) ? season.verdict[rankOf.get(row)] : "");
const previewOf = (row) => {
  if (!season.previews.has(season.exposure[row])) return null;
  return globalThis.cascadePreviews?.[season.exposure[row]] ?? `previews/${season.exposure[row]}.jpg`;
};

/** Text alternative of an image. */
function inWords(row, artifacts) {
  const found = artifacts.map(([name, sure]) => `${name} ${sure.toFixed(2)}`).join(", ") || "no artifact";
  return `Exposure ${title(row)}, band ${band(row)}: ${found}; ${season.n_vetoed[row]} CCDs vetoed`;
}

/** The focal plane of an exposure. */
function picture(row, [artifacts, ccds, predicted = []], lazy) {
  const source = previewOf(row);
  const focal = focalPlane({
    source,
    alt: inWords(row, artifacts),
    ccds: season.ccds,
    vetoed: new Set(ccds.filter(([, , vetoed]) => vetoed).map(([ccdnum]) => ccdnum)),
    artifacts: artifacts.map(([name, , outlines]) => ({ class: name, outlines })),
    predicted: predicted.map(([name, , outlines]) => ({ class: name, outlines })),
    lazy,
  });
  if (!source) focal.append(htmlElement("span", { class: "missing" }, "no preview in this report"));
  return focal;
}

/** A list of artifacts with their stars. */
const artifactList = (artifacts, what) => htmlElement("ul", {}, ...artifacts.map(([name, sure, , star]) =>
  htmlElement("li", {}, htmlElement("i", { class: `swatch ${name}` }),
    `${name}, ${what} ${sure.toFixed(3)}${star ? `: ${star}` : ""}`)));

function tile(position) {
  const row = shown[position];
  const box = htmlElement("div", {});
  const item = htmlElement("div", { class: "tile", "aria-label": `${title(row)}, score ${score(row)}` }, box);
  const holder = htmlElement("div", { class: "focal bare" });
  const said = verdict(row);
  box.append(
    holder,
    htmlElement("p", { title: path(row) }, title(row)),
    htmlElement("p", {}, `${band(row)} · score ${score(row)} · doubt ${scaled(season.doubt[row], 4, 2)}`),
    htmlElement("p", { class: "quiet" }, `${area(row)} · ${season.n_vetoed[row]} CCDs${said ? ` · ${said}` : ""}`),
  );
  detail(row).then((found) => {
    item.setAttribute("aria-label", inWords(row, found[0]));
    holder.replaceWith(picture(row, found, true));
  });
  return item;
}

function tableRow(position) {
  const row = rows[position];
  const cells = [
    season.expnum[row] ?? nothing, path(row), band(row), night(row), score(row), status(row),
    season.n_artifacts[row], area(row), season.n_vetoed[row],
  ];
  return htmlElement("div", { class: position % 2 ? "row odd" : "row" }, ...cells.map((cell, k) =>
    htmlElement("span", { role: "gridcell", title: k === 1 ? cell : null }, String(cell))));
}

const tileColumns = () => Math.max(1, Math.floor(byId("gallery").clientWidth / 215));
const tileHeight = () => Math.round(byId("gallery").clientWidth / tileColumns()) + 80;
const gallery = new VirtualList(byId("gallery"), {
  columns: tileColumns, rowHeight: tileHeight, render: tile, role: "option",
  open: (position) => openOne(shown, position),
});
const table = new VirtualList(byId("table"), {
  columns: () => 1, rowHeight: () => 28, render: tableRow, role: "row",
  open: (position) => openOne(rows, position),
});

function choices(id, first, values) {
  byId(id).append(htmlElement("option", { value: "" }, first), ...values.map((value) => htmlElement("option", { value }, value)));
}

/** Filter and sort all rows, and show them. */
function apply() {
  const wanted = { prediction: byId("prediction")?.value };
  for (const id of ["status", "class", "band", "night", "verdict"]) wanted[id] = byId(id).value;
  const words = byId("find").value.trim().toLowerCase();
  const bandIndex = season.bands.indexOf(wanted.band);
  const nightIndex = season.nights.indexOf(wanted.night);
  const bit = CLASSES.find(({ name }) => name === wanted.class)?.bit ?? 0;
  rows = [];
  for (let row = 0; row < season.exposure.length; row += 1) {
    if (wanted.band && season.band[row] !== bandIndex) continue;
    if (wanted.night && season.night[row] !== nightIndex) continue;
    if (wanted.status === "flagged" ? !wasFlagged.has(row) : wanted.status && status(row) !== wanted.status) continue;
    if (bit && !(season.classes[rankOf.get(row)] & bit)) continue;
    if (wanted.verdict && (verdict(row) || "not judged") !== wanted.verdict) continue;
    if (wanted.prediction && !predictionIs(season.predicted, row, wanted.prediction)) continue;
    if (words && !String(season.expnum[row]).includes(words) && !path(row).toLowerCase().includes(words)) continue;
    rows.push(row);
  }
  const [, column, sign] = sorts[byId("sort").value];
  rows.sort((a, b) => sign * ((column[a] ?? -1) - (column[b] ?? -1)) || a - b);
  shown = rows.filter((row) => rankOf.has(row));
  byId("n-shown").textContent = `${shown.length.toLocaleString("en")} of ${season.shown.length.toLocaleString("en")}`;
  byId("n-rows").textContent = `${rows.length.toLocaleString("en")} of ${season.exposure.length.toLocaleString("en")}`;
  byId("table-grid").setAttribute("aria-rowcount", rows.length + 1);
  gallery.reset(shown.length);
  table.reset(rows.length);
}

/** Show one exposure of a list. */
function openOne(list, position) {
  walked = list;
  opened = position;
  const row = list[position];
  byId("previous").disabled = position === 0;
  byId("next").disabled = position === list.length - 1;
  byId("one-title").textContent = `Exposure ${title(row)}`;
  detail(row).then((found) => {
    if (walked[opened] !== row) return;
    const [artifacts, ccds, predicted, missed, unforeseen] = found;
    const facts = [
      ["input", path(row)], ["band", band(row)], ["night", night(row)], ["status", status(row)], ["screen score", score(row)],
      ["doubt", scaled(season.doubt[row], 4, 3)], ["area", area(row)], ["verdict", verdict(row) || "not judged"],
    ];
    const text = htmlElement("div", {}, htmlElement("dl", {}, ...facts.flatMap(([name, value]) =>
      [htmlElement("dt", {}, name), htmlElement("dd", {}, value)])));
    text.append(htmlElement("h3", {}, `Artifacts: ${artifacts.length}`), artifactList(artifacts, "score"));
    if (predicted) {
      text.append(htmlElement("h3", {}, `Predicted: ${predicted.length}`), artifactList(predicted, "probability"),
        ...ccdDifferences(missed, unforeseen).map((words) => htmlElement("p", {}, words)));
    }
    const vetoed = ccds.filter(([, , is]) => is);
    text.append(htmlElement("h3", {}, `Vetoed CCDs: ${vetoed.length}`),
      htmlElement("p", {}, vetoed.map(([ccdnum, covered]) => `${ccdnum} (${Math.round(100 * covered)} %)`).join(", ") || "none"));
    const focal = picture(row, found, false);
    if (!rankOf.has(row)) focal.querySelector(".missing").textContent = "not flagged: no preview in this report";
    byId("one-body").replaceChildren(focal, text);
    showLayers();
  });
  if (!byId("one").open) byId("one").showModal();
}

function step(by) {
  const position = opened + by;
  if (position >= 0 && position < walked.length) openOne(walked, position);
}

/** Show or hide masks and CCDs on all focal planes. */
function showLayers() {
  document.body.classList.toggle("hide-masks", !byId("masks").checked);
  document.body.classList.toggle("hide-ccds", !byId("ccds").checked);
  document.body.classList.toggle("hide-predicted", !byId("predicted")?.checked);
}

choices("status", "any", ["flagged", ...season.statuses]);
choices("class", "any", CLASSES.map(({ name }) => name));
byId("legend").prepend(...CLASSES.map(({ name, meaning }) =>
  htmlElement("span", { title: meaning }, htmlElement("i", { class: `swatch ${name}` }), name)));
choices("band", "any", season.bands);
choices("night", "any", season.nights);
choices("verdict", "any", ["not judged", ...new Set(season.verdict.filter(Boolean))]);
if (season.predicted) choices("prediction", "any", predictionChoices(season.predicted));
byId("sort").append(...Object.entries(sorts).map(([value, [words]]) => htmlElement("option", { value }, words)));
season.previews = new Set(season.previews);
let typing;
byId("find").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(apply, 120);
});
byId("filters").addEventListener("change", apply);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("reset", () => setTimeout(apply));
byId("masks").addEventListener("change", showLayers);
byId("ccds").addEventListener("change", showLayers);
byId("predicted")?.addEventListener("change", showLayers);
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select") || event.altKey || event.ctrlKey || event.metaKey) return;
  const layer = byId({ m: "masks", c: "ccds", p: "predicted" }[event.key.toLowerCase()]);
  if (layer) {
    layer.checked = !layer.checked;
    showLayers();
  } else if (byId("one").open && event.key === "ArrowLeft") step(-1);
  else if (byId("one").open && event.key === "ArrowRight") step(1);
});
// On paper: the first exposures of the gallery, from its top.
globalThis.addEventListener("beforeprint", () => {
  byId("gallery").scrollTop = 0;
  gallery.redraw();
});
// Keep column headers aligned, whether or not there is a scroll bar beside the rows.
new ResizeObserver(() => {
  const room = byId("table").offsetWidth - byId("table").clientWidth;
  document.querySelector(".row.head").style.paddingRight = `calc(0.7rem + ${room}px)`;
}).observe(byId("table"));
themeButton(byId("theme"));
apply();
