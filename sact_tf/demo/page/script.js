"use strict";

const EPSILONS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
const WAIT = 120; // milliseconds after a slider has moved last
const LISTED = 10; // boxes beside the picture
const element = (id) => document.getElementById(id);
let about = null;
let file = null;
let shown = null; // the answer on the page
let busy = false;
let again = false; // something changed while the server computed
let wanted = null; // which picture is to be shown, a new object for each file and size
let have = null; // which one is shown
let map = "total";

function make(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const epsilon = () => EPSILONS[Number(element("epsilon").value)];
const percent = (share) => `${(100 * share).toFixed(1)} %`;

function flops(number) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (number >= size) return `${(number / size).toPrecision(number >= 100 * size ? 4 : 3)} ${unit}`;
  }
  return String(number);
}

function setUp() {
  element("network").textContent =
    `${about.network}, learned from ${about.dataset}; checkpoint ${about.checkpoint}` +
    (about.model_type === "vanilla" ? ". A plain network: it spends the same everywhere, so there are no maps." : "");
  for (const [name, there] of Object.entries({
    halting: about.epsilon !== null, maps: about.model_type === "sact", boxes: about.is_detector,
    cost: about.model_type.startsWith("act"),
  })) {
    for (const each of document.querySelectorAll(`.needs-${name}`)) each.hidden = !there;
  }
  const slider = element("epsilon");
  slider.max = EPSILONS.length - 1;
  slider.value = EPSILONS.indexOf(about.epsilon ?? 0.01);
  const size = element("size");
  [size.min, size.max] = [about.min_side, about.max_side];
  element("size-label").textContent = about.is_detector ? "Shorter side, pixels" : "Longer edge, pixels";
  if (about.image_size) size.value = about.image_size;
  const usual = about.image_size ?? `as it is, up to ${about.usual_side}`;
  size.placeholder = usual;
  element("size-help").textContent = `${about.min_side} to ${about.max_side}; empty: ${usual}.`;
  element("seen").textContent = about.is_detector ? "Boxes" : "Classes";
  const counted = about.is_detector ? "FLOPs are the extractor's. " : "FLOPs count what had not halted. ";
  element("timed-help").textContent = counted + (about.epsilon === null
    ? "The engine folds batch normalization into the weights; nothing halts in a plain network."
    : "Plain network: the same weights with nothing halting, every unit everywhere. Masked computes everything and " +
      "masks what has halted; the engine leaves out what it can, and folds batch normalization into the weights, " +
      "which it can do for the plain network too.");
  tellSettings();
}

function tellSettings() {
  const value = epsilon();
  element("epsilon-value").textContent = `${value}${value === about.epsilon ? " (as trained)" : ""}`;
  element("epsilon").setAttribute("aria-valuetext", String(value));
  element("opacity-value").textContent = `${element("opacity").value} %`;
  element("score-value").textContent = (element("score").value / 100).toFixed(2);
}

function tellError(sentence) {
  element("error").textContent = sentence;
  element("error").hidden = !sentence;
}

function choose(chosen) {
  if (!chosen || !about) return;
  if (chosen.size > about.max_bytes) {
    return tellError(`This file was not taken: it has more than ${about.max_bytes / 2 ** 20} MiB. Make it smaller.`);
  }
  file = chosen;
  wanted = {};
  compute();
}

async function compute() {
  if (!file) return;
  if (busy) { again = true; return; }
  if (!element("size").reportValidity()) return;
  [busy, again] = [true, false];
  const asked = wanted;
  document.body.classList.add("computing");
  element("progress").hidden = false;
  element("status").textContent = `Computing ${file.name}`;
  const query = new URLSearchParams({ epsilon: epsilon(), scale: element("scale").value, picture: have === wanted ? 0 : 1 });
  if (element("size").value) query.set("size", element("size").value);
  const begun = performance.now();
  try {
    const response = await fetch(`look?${query}`, {
      method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    if (asked === wanted) {
      shown = { ...answer, picture: answer.picture ?? shown.picture };
      have = asked;
      tellError("");
      show();
      element("status").textContent = `${file.name}: ${((performance.now() - begun) / 1000).toFixed(1)} s`;
    }
  } catch (error) {
    const lost = error instanceof TypeError
      ? "The server did not answer. It may have been stopped, or the file may have changed since it was chosen."
      : error.message;
    tellError(lost);
    element("status").textContent = "";
    // Figures of another photograph or threshold are not to stand below.
    element("result").hidden = true;
    have = null;
  }
  busy = false;
  document.body.classList.remove("computing");
  element("progress").hidden = true;
  if (again) compute();
}

function show() {
  element("result").hidden = false;
  element("picture").src = shown.picture;
  const [height, width] = shown.size;
  const [fileHeight, fileWidth] = shown.original_size;
  element("about-picture").textContent =
    [`${width} x ${height} pixels for the network, ${fileWidth} x ${fileHeight} in the file.`, ...shown.notes].join(" ");
  if (shown.maps) showMaps();
  if (shown.ponder_cost) showCost();
  if (shown.classes) showClasses();
  if (shown.boxes) showBoxes();
  showTimes();
}

function showMaps() {
  element("bar").src = shown.colours;
  const fieldset = element("maps");
  const focused = fieldset.contains(document.activeElement);
  fieldset.replaceChildren(fieldset.querySelector("legend"));
  if (!shown.maps.some((each) => each.name === map)) map = "total";
  for (const each of shown.maps) {
    const choice = make("label", undefined, "choice");
    const radio = make("input");
    Object.assign(radio, { type: "radio", name: "map", value: each.name, checked: each.name === map });
    radio.addEventListener("change", () => { map = each.name; showMap(); });
    const small = make("img");
    Object.assign(small, { src: each.source, alt: "" });
    const figures = make("small", `${each.least.toFixed(1)} to ${each.most.toFixed(1)}, ø ${each.mean.toFixed(1)}`);
    choice.append(small, radio, ` ${each.name === "total" ? "all blocks" : each.name}`, figures);
    fieldset.append(choice);
    if (focused && radio.checked) radio.focus();
  }
  showMap();
}

function showMap() {
  const chosen = shown.maps.find((each) => each.name === map);
  element("map").src = chosen.source;
  element("map").alt =
    `Ponder map, ${map}: from ${chosen.least.toFixed(1)} to ${chosen.most.toFixed(1)}, mean ${chosen.mean.toFixed(1)}`;
  element("map").style.opacity = element("opacity").value / 100;
  [element("least").textContent, element("most").textContent] = chosen.limits.map((each) => each.toFixed(1));
}

function showCost() {
  const entries = Object.entries(shown.ponder_cost);
  const total = entries.reduce((sum, [, cost]) => sum + cost, 0);
  element("cost").replaceChildren(
    ...[["all blocks", total], ...entries].flatMap(([name, cost]) => [make("dt", name), make("dd", cost.toFixed(2))]));
}

function bar(name, share, text) {
  const item = make("li");
  const meter = make("meter");
  Object.assign(meter, { min: 0, max: 1, value: share });
  meter.setAttribute("aria-label", name);
  item.append(make("span", name), make("span", text), meter);
  return item;
}

function showClasses() {
  element("found").replaceChildren(
    ...shown.classes.map((each) => bar(each.name, each.probability, percent(each.probability))));
}

function showBoxes() {
  const kept = shown.boxes.filter((each) => each.score >= element("score").value / 100);
  element("found").replaceChildren(
    ...kept.slice(0, LISTED).map((each) => bar(each.name, each.score, each.score.toFixed(2))));
  if (kept.length > LISTED) element("found").append(make("li", `and ${kept.length - LISTED} more`));
  if (!kept.length) element("found").append(make("li", "No box of this score or more."));
  element("boxes").replaceChildren(...kept.map(({ name, score, box: [top, left, bottom, right] }) => {
    const drawn = make("div", undefined, "box");
    const sides = { top, left, width: right - left, height: bottom - top };
    for (const [side, share] of Object.entries(sides)) drawn.style[side] = `${100 * share}%`;
    drawn.append(make("span", `${name} ${score.toFixed(2)}`));
    return drawn;
  }));
}

function showTimes() {
  element("timed").replaceChildren(...shown.timed.map((each) => {
    const row = make("tr");
    const name = make("th", each.name);
    name.scope = "row";
    const cells = [flops(each.flops), percent(each.share), each.milliseconds.toFixed(each.milliseconds < 10 ? 1 : 0)];
    row.append(name, ...cells.map((text) => make("td", text)));
    return row;
  }));
  const rounds = shown.rounds > 1 ? `Medians of ${shown.rounds} rounds, all networks in turns.` : "One round.";
  const same = shown.difference === null ? "" :
    ` Ponder costs of masked and engine differ by ${shown.difference.toPrecision(1)} at the most.`;
  element("rounds")?.remove();
  const line = make("small", ` ${rounds}${same}`);
  line.id = "rounds";
  element("timed-help").after(line);
}

let timer = null;
function later() {
  tellSettings();
  clearTimeout(timer);
  timer = setTimeout(compute, WAIT);
}

element("epsilon").addEventListener("input", later);
element("scale").addEventListener("change", later);
element("size").addEventListener("change", () => { wanted = {}; later(); });
element("opacity").addEventListener("input", () => { tellSettings(); if (shown?.maps) showMap(); });
element("score").addEventListener("input", () => { tellSettings(); if (shown?.boxes) showBoxes(); });
element("file").addEventListener("change", (event) => {
  choose(event.target.files[0]);
  event.target.value = ""; // the same file may be chosen again
});
// Anywhere on the page, so that a file dropped beside the frame does not replace the page.
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") choose(event.dataTransfer.files[0]);
  });
}

fetch("about").then((response) => response.json()).then((answer) => {
  if (answer.error) throw new Error(answer.error);
  about = answer;
  setUp();
}).catch((error) => tellError(`The page could not be set up: ${error.message}`));
