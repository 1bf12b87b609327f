// The focal plane: a preview with the CCDs and the outlines of artifacts over it, as SVG in half pixels.
"use strict";

const CLASSES = globalThis.cascadeClasses; // {name, bit, key, meaning}
const SVG = "http://www.w3.org/2000/svg";
const SIDE = 800; // half pixels

/** An SVG element with attributes. */
function svgElement(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** An HTML element; text is set as text, never as markup. */
function htmlElement(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** The path of the outlines of an artifact: lists of x, y, x, y, … in half pixels. */
function outlinePath(outlines) {
  return outlines
    .map((flat) => {
      const corners = [];
      for (let k = 0; k < flat.length; k += 2) corners.push(`${flat[k]} ${flat[k + 1]}`);
      return `M${corners.join("L")}Z`;
    })
    .join("");
}

/** The outline of a predicted artifact. */
const predictedPath = ({ class: name, outlines }) =>
  svgElement("path", { class: `predicted ${name}`, d: outlinePath(outlines) });

/** Sentences on the CCDs that are predicted alone and on those that were found alone. */
const ccdDifferences = (missed, unforeseen) => [
  `CCDs predicted, not found: ${missed.join(", ") || "none"}`, `CCDs found, not predicted: ${unforeseen.join(", ") || "none"}`,
];

/** What exposures can be filtered by: states, and CCDs on which prediction and finding differ. */
const predictionChoices = ({ states, ccds }) => [...states, ...Object.keys(ccds)];

/** Whether one of these is true of the exposure at a place in the columns. */
function predictionIs({ states, state, ccds }, place, wanted) {
  return wanted in ccds ? ccds[wanted][place] > 0 : states[state[place]] === wanted;
}

/**
 * Draw a focal plane.
 *
 * ccds: [ccdnum, x, y, width, height] in half pixels; vetoed: a Set of ccdnums; artifacts, predicted: {class, outlines}.
 * source: address of the preview, or null for a bare focal plane.
 */
function focalPlane({ source, alt, ccds, vetoed, artifacts, predicted, lazy }) {
  const focal = htmlElement("div", { class: source ? "focal" : "focal bare" });
  if (source) {
    focal.append(htmlElement("img", { src: source, alt, width: 400, height: 400, loading: lazy ? "lazy" : "eager", decoding: "async" }));
  }
  const svg = svgElement("svg", { viewBox: `0 0 ${SIDE} ${SIDE}` });
  if (source) svg.setAttribute("aria-hidden", "true");
  else {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", alt);
  }
  for (const [ccdnum, x, y, width, height] of ccds) {
    svg.append(svgElement("rect", { class: vetoed.has(ccdnum) ? "ccd vetoed" : "ccd", x, y, width, height }));
  }
  for (const artifact of artifacts) {
    svg.append(svgElement("path", { class: `artifact ${artifact.class}`, d: outlinePath(artifact.outlines) }));
  }
  svg.append(...predicted.map(predictedPath));
  focal.append(svg);
  return focal;
}

/** Read or set browser storage, which some browsers disable for pages from disk. */
function remembered(key, value) {
  try {
    if (value !== undefined) localStorage.setItem(key, value);
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** A button that cycles through the light, dark and system themes. */
function themeButton(button) {
  const themes = ["system", "light", "dark"];
  const show = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Colours: ${theme}`;
  };
  let theme = remembered("cascade-theme");
  if (!themes.includes(theme)) theme = "system";
  show(theme);
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    remembered("cascade-theme", theme);
    show(theme);
  });
}
