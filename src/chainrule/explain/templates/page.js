"use strict";
const { nodes, order, arrays, groups } = JSON.parse(document.getElementById("tape").textContent);
const $ = (id) => document.getElementById(id);
const count = order.length;
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
let step = 0, opened = null, timer = 0, derivationShown = false;

// When each node has its value, and its gradient: an op in its own two steps, a leaf when its first user is walked back.
const valueAt = new Map(order.map((node, i) => [node, i + 1]));
const gradientAt = (i) => {
  if (nodes[i].gradient === null) return Infinity;
  return 2 * count + 1 - (valueAt.get(i) ?? Math.min(...nodes[i].users.map(([user]) => valueAt.get(user))));
};
const hasValue = (i) => step >= (valueAt.get(i) ?? 0);
const hasGradient = (i) => step >= gradientAt(i);
const phase = () => (step === 0 ? "start" : step <= count ? "forward" : "backward");
const current = () => (step === 0 ? null : order[step <= count ? step - 1 : 2 * count - step]);

const make = (tag, kind, ...inside) => {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...inside);
  return made;
};
const formula = (op, part) => {
  const found = $("op-" + op)?.content.querySelector("." + part);
  return found ? found.cloneNode(true) : "";
};
const resultOf = (op) => $("op-" + op)?.dataset.result ?? ""; // the letter that the op's formulas give its value
const round = (value) => {
  const x = Number(value);
  if (!Number.isFinite(x)) return String(value);
  const text = x && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5) ? x.toExponential(2) : String(Number(x.toPrecision(4)));
  return text.replace(/-/g, "−");
};
const shapeOf = (array) => array.shape.join(" × ") || "scalar";

// One array: a number, or its matrices as heat maps with a scale, and statistics; the entry under the pointer is read out.
function heat(place, name, { bar = false, role = "" } = {}) {
  const array = arrays[place];
  const label = make("span", "label" + (name.length > 4 ? " long" : "") + (bar ? " bar" : ""), name);
  const caption = make("figcaption", "", label, make("span", "shape", shapeOf(array)));
  if (role && role !== name) caption.prepend(make("span", "role" + (bar ? " bar" : ""), role), make("span", "role", "="));
  const figure = make("figure", "heat", caption);
  const spoken = bar ? `gradient of ${name}` : name;
  label.setAttribute("aria-label", spoken);
  const { min, mean, max, norm } = array.statistics;
  if (array.panels.length && array.panels[0].cells.length === 1 && array.panels[0].cells[0].length === 1 && !array.more) {
    const big = make("div", "big", round(array.panels[0].cells[0][0]));
    big.title = array.panels[0].cells[0][0];
    figure.append(big);
    return figure;
  }
  const finite = array.panels.flatMap((panel) => panel.cells.flat().map(Number).filter(Number.isFinite).map(Math.abs));
  const largest = [Math.max(Math.abs(min), Math.abs(max)), finite.reduce((a, b) => Math.max(a, b), 0)].find((m) => m > 0 && m < Infinity) ?? 1;
  const drawn = array.panels.map((panel) => grid(panel, array, spoken, largest));
  if (array.more) drawn.push(make("span", "more", `and ${array.more.toLocaleString("en")} more`));
  const scale = make("div", "legend", round(-largest), make("span", "scale"), round(largest));
  figure.append(make("div", "panels", ...drawn), scale);
  if (array.shape.reduce((a, b) => a * b, 1) > 24) figure.append(make("div", "stats", `min ${round(min)} · mean ${round(mean)} · max ${round(max)} · norm ${round(norm)}`));
  if (array.histogram.length) figure.append(bars(array.histogram));
  return figure;
}

function grid(panel, array, name, largest) {
  const columns = panel.cells[0]?.length ?? 0;
  const whole = panel.block[0] === 1 && panel.block[1] === 1;
  const written = whole && !array.more && columns <= 6 && panel.cells.length <= 12;
  const room = array.panels.length > 4 ? 96 : 300;
  const side = Math.max(5, Math.min(24, Math.floor(room / Math.max(columns, panel.cells.length))));
  const cells = [];
  const made = make("div", "grid" + (written ? "" : " bare"));
  made.style.setProperty("--columns", columns);
  made.style.setProperty("--size", written ? "4.9rem" : side + "px");
  if (written) made.style.setProperty("--high", "30px");
  panel.cells.forEach((row, i) => row.forEach((value, j) => {
    const share = Math.min(100, (100 * Math.abs(Number(value))) / largest) || 0;
    const cell = make("i", (Number(value) < 0 ? "negative" : "positive") + (share > 62 ? " deep" : "") + (share > 88 ? " deepest" : ""), written ? round(value) : "");
    cell.style.setProperty("--share", share.toFixed(0) + "%");
    cell.dataset.value = value;
    cell.dataset.index = [...panel.index, ...(array.shape.length > 1 ? [span(i, panel.block[0], array.shape.at(-2))] : []),
      span(j, panel.block[1], array.shape.at(-1))].join(", ");
    cells.push(cell);
  }));
  made.append(...cells);
  made.tabIndex = 0;
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", `${name}, ${shapeOf(array)}, from ${round(array.statistics.min)} to ${round(array.statistics.max)}; arrow keys read out its entries`);
  let at = -1;
  const read = (next) => {
    cells[at]?.classList.remove("at");
    at = next;
    cells[at]?.classList.add("at");
    const cell = cells[at];
    tell(cell, cell && `${name}[${cell.dataset.index}] ${whole ? "=" : "≈"} ${cell.dataset.value}`);
  };
  made.addEventListener("pointerover", (event) => read(cells.indexOf(event.target)));
  made.addEventListener("pointerleave", () => read(-1));
  made.addEventListener("focus", () => read(Math.max(at, 0)));
  made.addEventListener("blur", () => read(-1));
  made.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (!move) return;
    if (cells[at + move]) read(at + move);
    event.preventDefault();
    event.stopPropagation();
  });
  const index = panel.index.length ? make("small", "", `[${panel.index.join(", ")}]`) : "";
  return make("div", "panel", index, made);
}
function tell(cell, text) {
  const tip = $("tip");
  tip.hidden = !cell;
  if (!cell) return;
  tip.textContent = text;
  const box = cell.getBoundingClientRect();
  tip.style.left = Math.max(8, Math.min(innerWidth - tip.offsetWidth - 8, box.left + box.width / 2 - tip.offsetWidth / 2)) + "px";
  tip.style.top = (box.top > 50 ? box.top - tip.offsetHeight - 8 : box.bottom + 8) + "px";
}
const span = (i, block, size) => (block === 1 ? i : `${i * block}–${Math.min(size, (i + 1) * block) - 1}`);

function bars(histogram) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "bars");
  svg.setAttribute("viewBox", `0 0 ${histogram.length} 10`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "histogram of its entries");
  const most = Math.max(...histogram);
  histogram.forEach((n, i) => {
    const bar = document.createElementNS(svg.namespaceURI, "rect");
    for (const [key, value] of Object.entries({ x: i + 0.08, width: 0.84, y: 10 - (10 * n) / most, height: (10 * n) / most }))
      bar.setAttribute(key, value);
    svg.append(bar);
  });
  return svg;
}

// What the reader shows of a node in this step.
function article(i) {
  const node = nodes[i];
  const title = make("h2", node.name.length <= 4 ? "symbol" : "", node.name);
  const inside = [title];
  const group = groups.find(({ members }) => members.includes(i));
  if (group) inside.unshift(parts(group, i));
  const place = [node.module, node.place].filter(Boolean).join(" · ");
  if (node.op) inside.push(make("p", "made", `${node.made}   `, make("span", "place", place)), formula(node.op, "summary"));
  else inside.push(make("p", "made", { input: "an input", parameter: "a parameter, which is trained", constant: "a constant" }[node.kind]));
  const halves = [forward(i), backward(i)];
  inside.push(...(phase() === "backward" && hasGradient(i) ? halves.reverse() : halves).flat());
  const derived = formula(node.op, "derivation");
  if (derived) {
    const details = make("details", "", make("summary", "", "Derivation"), derived);
    details.open = derivationShown;
    details.addEventListener("toggle", () => { derivationShown = details.open; });
    inside.push(details);
  }
  const made = make("article", "", ...inside);
  made.dataset.node = i;
  return made;
}

function forward(i) {
  const node = nodes[i];
  if (!node.op) return [make("h3", "forward", "Value"), heat(node.value, node.name)];
  const inputs = node.inputs.map(([source, role]) => heat(nodes[source].value, nodes[source].name, { role }));
  const out = hasValue(i) ? heat(node.value, node.name, { role: resultOf(node.op) }) : make("p", "wait", `computed in step ${valueAt.get(i)}`);
  out.classList.add("out");
  return [make("h3", "forward", "Forward"), formula(node.op, "forward"),
    make("div", "row", ...inputs, make("span", "flow", "→"), out)];
}

function backward(i) {
  const node = nodes[i];
  if (node.gradient === null) return [];
  const heading = make("h3", "backward", node.op ? "Backward" : "Gradient");
  const rule = formula(node.op, "backward");
  if (!hasGradient(i)) return [heading, rule, make("p", "wait", `The gradient arrives in step ${gradientAt(i)}.`)];
  const incoming = heat(node.gradient, node.name, { bar: true, role: resultOf(node.op) });
  incoming.classList.add("incoming");
  const going = node.inputs.filter(([, , gradient]) => gradient !== null);
  const outgoing = going.map(([source, role, gradient]) => heat(gradient, nodes[source].name, { bar: true, role }));
  const row = make("div", "row", incoming, ...(outgoing.length ? [make("span", "flow", "→"), ...outgoing] : []));
  const found = [heading, rule, row];
  if (node.users.length > 1) {
    found.push(make("h3", "backward", "Where it comes from: a sum"));
    const used = node.users.filter(([, gradient]) => gradient !== null);
    found.push(make("div", "row", ...used.map(([user, gradient]) => heat(gradient, "from " + nodes[user].name))));
  }
  const jacobians = going.filter(([, , , jacobian]) => jacobian && (jacobian.length > 1 || jacobian[0].length > 1));
  if (jacobians.length) found.push(make("h3", "", "Local Jacobians"));
  found.push(make("div", "row", ...jacobians.map(([source, , , jacobian]) => jacobianOf(jacobian, node.name, nodes[source].name))));
  return found;
}

function jacobianOf(cells, y, x) {
  const flat = cells.flat().map(Number);
  const sorted = { min: Math.min(...flat), max: Math.max(...flat) };
  const mean = flat.reduce((a, b) => a + b, 0) / flat.length;
  arrays.push({ shape: [cells.length, cells[0].length], statistics: { ...sorted, mean, norm: Math.hypot(...flat) },
    panels: [{ index: [], block: [1, 1], cells }], more: 0, histogram: [] });
  const [above, below] = [y, x].map((name) => (/^[\w.]+$/.test(name) ? name : `(${name})`));
  const figure = heat(arrays.length - 1, `∂${above} / ∂${below}`);
  arrays.pop();
  return figure;
}

function parts({ label, members }, i) {
  const made = make("nav", "parts", ...members.map((member) => {
    const button = make("button", "", nodes[member].name.replace(label + ".", ""));
    button.type = "button";
    if (member === i) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => open(member));
    return button;
  }));
  made.setAttribute("aria-label", "Ops of this layer");
  return made;
}

// The state of the page: a step, and perhaps a node that was opened without going to its step.
function show() {
  const now = current(), shown = opened ?? now;
  document.body.className = phase();
  document.querySelectorAll(".card").forEach((card) => {
    const held = card.dataset.nodes.split(" ").map(Number);
    const last = held.at(-1);
    card.classList.toggle("waiting", !hasValue(held[0]));
    card.classList.toggle("has-value", hasValue(last));
    card.classList.toggle("has-gradient", hasGradient(last));
    card.classList.toggle("current", held.includes(now));
    card.classList.toggle("opened", held.includes(shown));
  });
  document.querySelectorAll(".line").forEach((line) => {
    const [start, end] = [Number(line.dataset.start), Number(line.dataset.end)];
    const back = step >= gradientAt(end) && nodes[start].gradient !== null;
    line.classList.toggle("forward", hasValue(end) && !back);
    line.classList.toggle("backward", back);
    line.classList.toggle("now", end === now);
  });
  const reader = $("reader");
  tell(null);
  if (reader.firstChild?.dataset?.node !== String(shown)) reader.scrollTop = 0;
  reader.replaceChildren(shown === null ? $("overview").content.cloneNode(true) : article(shown));
  reader.querySelectorAll("[data-open]").forEach((link) => link.addEventListener("click", () => open(Number(link.dataset.open))));
  $("slider").value = step;
  const told = now === null ? "start: the inputs and parameters" : `${phase()} · ${nodes[now].name}, ${nodes[now].op}`;
  $("now").replaceChildren(make("b", phase()[0], `${step} / ${2 * count}`), "  " + told);
  $("slider").setAttribute("aria-valuetext", told);
  const card = document.querySelector(".card.opened");
  if (card) follow(card);
}

function follow(card) {
  const pane = document.querySelector(".graph"), box = card.getBoundingClientRect(), view = pane.getBoundingClientRect();
  const by = box.top + box.height / 2 - view.top - view.height / 2;
  const aside = box.left < view.left || box.right > view.right ? box.left + box.width / 2 - view.left - view.width / 2 : 0;
  if (Math.abs(by) > view.height * 0.28 || aside) pane.scrollBy({ top: by, left: aside, behavior: still ? "auto" : "smooth" });
}

function go(to) {
  step = Math.max(0, Math.min(2 * count, to));
  opened = null;
  if (step === 2 * count) stop();
  show();
}
function open(i) {
  stop();
  if (valueAt.has(i)) return go(step > count ? gradientAt(i) : valueAt.get(i));
  opened = i;
  show();
}
function stop() {
  clearInterval(timer);
  timer = 0;
  $("play").textContent = "▶";
  $("play").setAttribute("aria-label", "Play");
}
function play() {
  if (timer) return stop();
  if (step === 2 * count) go(0);
  timer = setInterval(() => go(step + 1), 1100);
  $("play").textContent = "❚❚";
  $("play").setAttribute("aria-label", "Stop");
}

$("slider").addEventListener("input", (event) => go(Number(event.target.value)));
$("back").addEventListener("click", () => go(step - 1));
$("next").addEventListener("click", () => go(step + 1));
$("play").addEventListener("click", play);
$("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (document.documentElement.style.colorScheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.style.colorScheme = dark ? "light" : "dark";
});
document.querySelectorAll(".card").forEach((card) => {
  const nodesOf = () => card.dataset.nodes.split(" ").map(Number);
  card.addEventListener("click", () => open(step > count ? nodesOf().at(-1) : nodesOf()[0]));
  card.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    card.dispatchEvent(new Event("click"));
    $("reader").querySelector(".grid, summary, button")?.focus({ preventScroll: true });
  });
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onButton = event.target.closest?.("button, summary, a");
  const to = { ArrowRight: step + 1, ArrowLeft: step - 1, Home: 0, End: 2 * count }[event.key];
  if (to !== undefined) { event.preventDefault(); stop(); go(to); }
  else if (event.key === " " && !onButton) { event.preventDefault(); play(); }
});
show();
