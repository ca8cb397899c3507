// The page of a run: every few seconds what has been logged since, drawn.
//
//   GET runs ──► steps, folders          GET numbers?run=&after= ──► lines, added to those that are there ──► charts
//                                        GET log?run=&seen= ──► its end, if it has grown       while the log is open
//                                        POST batch?run=&seen= ──► pictures, boxes             while the batch is open

const SECONDS = 3, MOST_POINTS = 600;
const SCALES = { device_bytes: [2 ** 20, "MiB"], card_bytes: [2 ** 20, "MiB"], data_wait_share: [0.01, "%"] };
const NO_CURVE = ["kind", "step", "epoch", "name"];
const logs = new Map(); // run -> {after, lines}
const seen = { log: 0, batch: 0 }; // of the chosen run
let chosen = null, pictures = [];

const shown = (value) => Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 6, maximumSignificantDigits: 4 });

async function update() {
  try {
    const { work_dir: folder, steps, runs } = JSON.parse(await ask("runs"));
    el("work-dir").textContent = folder;
    list(steps);
    pick(runs);
    if (chosen !== null) {
      await follow(chosen);
      await look();
    }
    el("problem").replaceChildren();
  } catch (error) {
    el("problem").replaceChildren(make("p", `${error.message} A run that has ended shows nothing more.`));
  }
  setTimeout(update, 1000 * SECONDS);
}

function list(steps) {
  el("steps").hidden = !steps.length;
  el("steps").replaceChildren(...steps.map(({ name, state, seconds }) =>
    make("li", `${name}: ${state}${seconds ? `, ${Math.round(seconds)} s` : ""}`, { className: state })));
}

function pick(runs) {
  for (const id of ["log", "batch"]) el(id).hidden = !runs.length;
  const latest = runs.at(-1) ?? null;
  if (chosen === null || !runs.includes(chosen) || el("runs").dataset.latest !== String(latest)) choose(latest);
  el("runs").dataset.latest = String(latest);
  el("runs").hidden = runs.length < 2;
  if (el("runs").childElementCount === runs.length) return;
  el("runs").replaceChildren(...runs.map((name) => {
    const button = make("button", name || "this run", { type: "button" });
    button.dataset.run = name;
    button.onclick = () => { choose(name); follow(name).then(look); };
    return button;
  }));
}

function choose(run) {
  if (chosen === run) return;
  chosen = run;
  Object.assign(seen, { log: 0, batch: 0 });
  el("log").querySelector("pre").textContent = "";
  el("batch").querySelector(".pictures").replaceChildren();
  pictures = [];
}

async function follow(run) {
  for (const button of el("runs").children) button.setAttribute("aria-pressed", String(button.dataset.run === run));
  const log = logs.get(run) ?? { after: 0, lines: [] };
  logs.set(run, log);
  for (;;) {
    const query = new URLSearchParams({ run, after: log.after });
    const found = JSON.parse(await ask(`numbers?${query}`));
    if (found.again) log.lines = [];
    log.lines.push(...found.lines);
    log.after = found.after;
    if (!found.lines.length) break;
  }
  if (chosen !== run) return;
  el("empty").hidden = log.lines.length > 0;
  draw(log.lines);
}

// What is open and on the screen: a batch is drawn only while somebody looks.
async function look() {
  const run = chosen;
  if (document.hidden) return;
  if (el("log").open) {
    const found = JSON.parse(await ask(`log?${new URLSearchParams({ run, seen: seen.log })}`));
    if (chosen !== run) return;
    seen.log = found.seen;
    if (found.text !== null) scroll(el("log").querySelector("pre"), found.text);
  }
  if (el("batch").open) {
    const found = JSON.parse(await ask(`batch?${new URLSearchParams({ run, seen: seen.batch })}`, { method: "POST" }));
    if (chosen === run) showBatch(found);
  }
}

// Stays at the end where it was there.
function scroll(box, text) {
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 4;
  box.textContent = text;
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function showBatch(found) {
  const note = el("batch").querySelector(".note");
  if (!seen.batch) note.textContent = "Asked for. A training draws its batch at the end of a step, while this is open.";
  if (found === null) return;
  seen.batch = found.step;
  note.textContent = `Step ${found.step.toLocaleString("en")}, as the network gets it: with what is drawn at random, and the boxes that it trains on.`;
  pictures = found.images.map(({ jpeg, boxes, width, height }) => {
    const canvas = make("div", "", { className: "canvas" }), tags = make("div", "", { className: "tags" });
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const named = boxes.filter((box) => box.name), alt = named.map((box) => box.name).join(", ") || `boxes: ${boxes.length}`;
    canvas.append(make("img", "", { src: `data:image/jpeg;base64,${jpeg}`, alt, width, height }), svg, tags);
    drawBoxes(svg, boxes, width, height);
    return { canvas, name: () => tags.replaceChildren(...labels(named, tags, width, height, (box) => box.name)) };
  });
  el("batch").querySelector(".pictures").replaceChildren(...pictures.map((one) => one.canvas));
  nameBoxes();
}

function nameBoxes() {
  for (const one of pictures) one.name();
}

function draw(lines) {
  const curves = new Map(); // title -> [[step, value]]
  for (const line of lines) {
    for (const [key, value] of Object.entries(line)) {
      if (NO_CURVE.includes(key) || typeof value !== "number") continue;
      const title = line.kind === "val" ? `${line.name}: ${key}` : key, [unit, word] = SCALES[key] ?? [1, ""];
      if (!curves.has(title)) curves.set(title, { word, points: [], first: line.kind === "val" });
      curves.get(title).points.push([line.step, value / unit]);
    }
  }
  const last = lines.findLast((line) => line.kind === "train");
  el("status").textContent = last ? `epoch ${last.epoch}, step ${last.step.toLocaleString("en")}` : "";
  const sorted = [...curves].sort(([, one], [, other]) => other.first - one.first);
  el("charts").replaceChildren(...sorted.map(([title, curve]) => chart(title, curve)));
}

function chart(title, { word, points }) {
  const every = Math.ceil(points.length / MOST_POINTS), some = points.filter((_, place) => (points.length - 1 - place) % every === 0);
  const values = some.map(([, value]) => value), low = Math.min(...values), high = Math.max(...values);
  const first = some[0][0], wide = Math.max(1, some.at(-1)[0] - first), tall = high - low || 1;
  const element = make("section", "", { className: "panel chart" });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  const places = some.map(([step, value]) => [(100 * (step - first)) / wide, 100 - (100 * (value - low)) / tall]);
  if (places.length === 1) places.push([100, places[0][1]]);
  line.setAttribute("points", places.map((place) => place.join(",")).join(" "));
  svg.append(line);
  const ends = make("div", "", { className: "ends" });
  ends.append(make("span", `step ${first.toLocaleString("en")}`), make("span", `${shown(low)} to ${shown(high)}`), make("span", some.at(-1)[0].toLocaleString("en")));
  element.append(make("h2", title), make("p", `${shown(values.at(-1))} ${word}`), svg, ends);
  return element;
}

for (const id of ["log", "batch"]) el(id).ontoggle = () => { if (chosen !== null) look().then(nameBoxes, () => {}); };
addEventListener("resize", nameBoxes);
update();
